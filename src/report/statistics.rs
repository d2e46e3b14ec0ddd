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
        let mean = mean(values.iter().copied(), count);
        let squares =
            |scale: f64| values.iter().map(|value| (value / scale - mean / scale).powi(2)).sum::<f64>();
        let deviation = |scale: f64| scale * (squares(scale) / (count - 1) as f64).sqrt();
        // Squares may be too large or too small for a float where the values are not.
        let extreme = min.abs().max(max.abs());
        let scale = if is_moderate(extreme) { 1.0 } else { extreme };
        let deviation = if count > 1 { deviation(scale).min(f64::MAX) } else { 0.0 };
        let [p5, median, p95] = [0.05, 0.5, 0.95].map(|share| quantile(&sorted, share));
        Some(Self { count, mean, deviation, min, p5, median, p95, max })
    }
}

/// Mean, deviation and range of a column that is not kept (Welford 1962).
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    count: usize,
    mean: f64,
    /// Sum of the squares of the differences from the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        (self.min, self.max) =
            if self.count == 1 { (value, value) } else { (self.min.min(value), self.max.max(value)) };
        let difference = value - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (value - self.mean);
    }

    /// The summary of a sample with what is known of the whole column.
    pub(super) fn complete(&self, sample: &Summary) -> Summary {
        let Self { count, mean, squares, min, max } = *self;
        let deviation = (squares / count.saturating_sub(1).max(1) as f64).sqrt();
        if mean.is_finite() && deviation.is_finite() {
            Summary { count, mean, deviation, min, max, ..*sample }
        } else {
            // Squares may be too large for a float where the values are not.
            Summary { count, min, max, ..*sample }
        }
    }
}

/// Whether sums of squares of numbers up to this one fit in a float; true for 0.
fn is_moderate(number: f64) -> bool {
    number == 0.0 || (1e-100..=1e100).contains(&number)
}

/// The mean of `count` values.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    let sum: f64 = values.clone().sum();
    if sum.is_finite() { sum / count as f64 } else { values.map(|value| value / count as f64).sum() }
}

/// Where `value` is between `min`, 0, and `max`, 1. Also if `max - min` is too large for a float.
pub(super) fn share_between(value: f64, min: f64, max: f64) -> f64 {
    let (above, span) = (value - min, max - min);
    if span.is_finite() { above / span } else { (value / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0) }
}

/// The value that `share` (0 to 1) of `sorted` (ascending, not empty) is below, interpolated linearly
/// between neighbours, as numpy does by default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    let span = above - below;
    let share = place.fract();
    if span.is_finite() { below + span * share } else { below * (1.0 - share) + above * share }
}

/// Number of `values` in each of `bins` equal parts of `min..=max`.
pub(super) fn bin_counts(values: &[f64], min: f64, max: f64, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for value in values {
        let place = if max > min { share_between(*value, min, max) } else { 0.5 };
        counts[((place * bins as f64) as usize).min(bins - 1)] += 1;
    }
    counts
}

/// Pearson's correlation of two columns of equal length; `None` if one is constant.
pub(crate) fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let (scaled_a, scaled_b) = (scaled(a), scaled(b));
    let (a, b) = (scaled_a.as_slice(), scaled_b.as_slice());
    let [mean_a, mean_b] = [a, b].map(|values| mean(values.iter().copied(), values.len()));
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

/// Values of a size whose squares are floats, in the same proportions.
fn scaled(values: &[f64]) -> Vec<f64> {
    let extreme = values.iter().fold(0.0, |extreme: f64, value| extreme.max(value.abs()));
    if is_moderate(extreme) { values.to_vec() } else { values.iter().map(|value| value / extreme).collect() }
}

/// Spearman's correlation: Pearson's correlation of the ranks, where ties share theirs.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
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
    /// Counts a pair by its margin, chosen minus rejected.
    pub(crate) fn add(&mut self, margin: f64) {
        self.pairs += 1;
        self.right += usize::from(margin > 0.0);
        self.ties += usize::from(margin == 0.0);
    }

    /// The pairs of both.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            right: self.right + other.right,
            ties: self.ties + other.ties,
        }
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
