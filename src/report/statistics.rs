//! The numbers behind the page: nothing here knows what a score is of.

use serde::Serialize;

/// What one column of numbers looks like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the sample (division by `count - 1`); 0 of a single value.
    pub deviation: f64,
    /// Smallest.
    pub low: f64,
    /// A twentieth lies below.
    pub p5: f64,
    /// Half lies below.
    pub median: f64,
    /// A twentieth lies above.
    pub p95: f64,
    /// Largest.
    pub high: f64,
}

/// Describes `values`; `None` of no values.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let count = values.len();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
    let at = |share| quantile(&sorted, share);
    Some(Summary { count, mean, deviation, low, p5: at(0.05), median: at(0.5), p95: at(0.95), high })
}

/// The value that `share` (0 to 1) of `sorted` (ascending, not empty) lies below, between neighbours
/// in proportion, as numpy's default does.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// How many of `values` fall in each of `bins` equal parts of `low..=high`.
pub fn counts(values: &[f64], low: f64, high: f64, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for value in values {
        let place = if high > low { (value - low) / (high - low) } else { 0.5 };
        counts[((place * bins as f64) as usize).min(bins - 1)] += 1;
    }
    counts
}

/// Pearson's correlation of two columns of one length; `None` where one does not vary.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut product, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        product += a * b;
        square_a += a * a;
        square_b += b * b;
    }
    let scale = (square_a * square_b).sqrt();
    (scale > 0.0).then(|| (product / scale).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, ties sharing theirs.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&index| ranks[index] = shared);
        before += tied.len();
    }
    ranks
}

/// Wilson's 95% interval of a share of `total` (at least 1).
pub fn interval(share: f64, total: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let total = total as f64;
    let middle = share + Z * Z / (2.0 * total);
    let half = Z * (share * (1.0 - share) / total + Z * Z / (4.0 * total * total)).sqrt();
    let scale = 1.0 + Z * Z / total;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

/// How often the chosen response is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// All pairs.
    pub pairs: usize,
    /// Pairs with the chosen one ahead.
    pub right: usize,
    /// Pairs with equal scores.
    pub ties: usize,
}

impl Accuracy {
    /// Of margins; `None` of none.
    pub fn of(margins: impl Iterator<Item = f64>) -> Option<Self> {
        let mut of = Self::default();
        for margin in margins {
            of.pairs += 1;
            of.right += usize::from(margin > 0.0);
            of.ties += usize::from(margin == 0.0);
        }
        (of.pairs > 0).then_some(of)
    }

    /// Share of pairs that are right, 0 to 1; a tie is half right, as a coin would have it.
    pub fn share(&self) -> f64 {
        (self.right as f64 + self.ties as f64 / 2.0) / self.pairs as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_numpys() {
        // numpy: mean, std(ddof=1), percentile(5, 50, 95) of the same five numbers.
        let of = summary(&[3.0, 1.0, 4.0, 1.5, 9.0]).unwrap();
        assert_eq!((of.count, of.low, of.median, of.high), (5, 1.0, 3.0, 9.0));
        for (ours, numpys) in [(of.mean, 3.7), (of.deviation, 3.193_743_9), (of.p5, 1.1), (of.p95, 8.0)] {
            assert!((ours - numpys).abs() < 1e-6, "{ours} {numpys}");
        }
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn every_value_is_counted_once_the_ends_included() {
        assert_eq!(counts(&[0.0, 0.1, 0.5, 1.0], 0.0, 1.0, 2), [2, 2]);
        assert_eq!(counts(&[2.0, 2.0], 2.0, 2.0, 3).iter().sum::<usize>(), 2);
    }

    #[test]
    fn correlations_are_those_of_scipy() {
        let (a, b) = ([1.0, 2.0, 2.0, 5.0], [2.0, 3.0, 7.0, 6.0]);
        assert!((pearson(&a, &b).unwrap() - 0.565_916_5).abs() < 1e-4, "{:?}", pearson(&a, &b));
        assert!((spearman(&a, &b).unwrap() - 0.632_455_5).abs() < 1e-6, "{:?}", spearman(&a, &b));
        assert_eq!(pearson(&a, &[1.0; 4]), None);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = interval(0.8, 50);
        assert!((low - 0.669_6).abs() < 1e-3 && (high - 0.887_6).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(1.0, 1).1, 1.0);
    }
}
