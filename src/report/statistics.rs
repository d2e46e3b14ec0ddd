//! Statistics of columns of numbers.

use serde::Serialize;

/// A description of a column of numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) mean: f64,
    /// Standard deviation of the sample (divided by `count - 1`); 0 for a single value.
    pub(crate) deviation: f64,
    pub(crate) min: f64,
    /// 5th percentile.
    pub(crate) p5: f64,
    pub(crate) median: f64,
    /// 95th percentile.
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Describes `values`; `None` if there are none.
    pub(crate) fn from_values(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        let [p5, median, p95] = [0.05, 0.5, 0.95].map(|share| quantile(&sorted, share));
        Some(Self { count, mean, deviation, min, p5, median, p95, max })
    }
}

/// The value that `share` (0 to 1) of `sorted` (ascending, not empty) is below, interpolated linearly
/// between neighbours, as numpy does by default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Number of `values` in each of `bins` equal parts of `min..=max`.
pub(super) fn bin_counts(values: &[f64], min: f64, max: f64, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for value in values {
        let place = if max > min { (value - min) / (max - min) } else { 0.5 };
        counts[((place * bins as f64) as usize).min(bins - 1)] += 1;
    }
    counts
}

/// Pearson's correlation of two columns of equal length; `None` if one is constant.
pub(super) fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
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

/// Spearman's correlation: Pearson's correlation of the ranks, where ties share theirs.
pub(super) fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
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

/// Wilson's 95% interval for a share of `total` (at least 1).
pub(crate) fn wilson_interval(share: f64, total: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let total = total as f64;
    let middle = share + Z * Z / (2.0 * total);
    let half = Z * (share * (1.0 - share) / total + Z * Z / (4.0 * total * total)).sqrt();
    let scale = 1.0 + Z * Z / total;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

/// How often the chosen response of a pair has the higher score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accuracy {
    pub(crate) pairs: usize,
    /// Pairs whose chosen response has the higher score.
    pub(crate) right: usize,
    /// Pairs with equal scores.
    pub(crate) ties: usize,
}

impl Accuracy {
    /// Counts margins (chosen minus rejected); `None` if there are none.
    pub(crate) fn from_margins(margins: impl Iterator<Item = f64>) -> Option<Self> {
        let mut accuracy = Self::default();
        for margin in margins {
            accuracy.pairs += 1;
            accuracy.right += usize::from(margin > 0.0);
            accuracy.ties += usize::from(margin == 0.0);
        }
        (accuracy.pairs > 0).then_some(accuracy)
    }

    /// Share of the pairs that are right, 0 to 1. A tie counts as half, like a guess.
    pub(crate) fn share(&self) -> f64 {
        (self.right as f64 + self.ties as f64 / 2.0) / self.pairs as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_equal_numpys() {
        // numpy: mean, std(ddof=1), percentile(5, 50, 95) of the same five numbers.
        let summary = Summary::from_values(&[3.0, 1.0, 4.0, 1.5, 9.0]).unwrap();
        assert_eq!((summary.count, summary.min, summary.median, summary.max), (5, 1.0, 3.0, 9.0));
        for (value, numpy) in
            [(summary.mean, 3.7), (summary.deviation, 3.193_743_9), (summary.p5, 1.1), (summary.p95, 8.0)]
        {
            assert!((value - numpy).abs() < 1e-6, "{value} {numpy}");
        }
        assert_eq!(Summary::from_values(&[]), None);
    }

    #[test]
    fn every_value_is_in_one_bin_including_the_ends() {
        assert_eq!(bin_counts(&[0.0, 0.1, 0.5, 1.0], 0.0, 1.0, 2), [2, 2]);
        assert_eq!(bin_counts(&[2.0, 2.0], 2.0, 2.0, 3).iter().sum::<usize>(), 2);
    }

    #[test]
    fn correlations_equal_scipys() {
        let (a, b) = ([1.0, 2.0, 2.0, 5.0], [2.0, 3.0, 7.0, 6.0]);
        assert!((pearson(&a, &b).unwrap() - 0.565_916_5).abs() < 1e-4, "{:?}", pearson(&a, &b));
        assert!((spearman(&a, &b).unwrap() - 0.632_455_5).abs() < 1e-6, "{:?}", spearman(&a, &b));
        assert_eq!(pearson(&a, &[1.0; 4]), None);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson_interval(0.8, 50);
        assert!((low - 0.669_6).abs() < 1e-3 && (high - 0.887_6).abs() < 1e-3, "{low} {high}");
        assert_eq!(wilson_interval(1.0, 1).1, 1.0);
    }
}
