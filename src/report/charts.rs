//! Geometry: numbers turned into places on a drawing. The page's template draws them.

use serde::Serialize;

use super::statistics::counts;

/// Points of a scatter that are drawn; more would only be a blot.
const POINTS: usize = 1500;

/// A linear scale from values to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    pub(super) fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high, from, to }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let share = if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 };
        self.from + share * (self.to - self.from)
    }

    /// A few round values on the scale, and where they stand.
    pub(super) fn ticks(&self, about: usize) -> Vec<Tick> {
        let span = self.high - self.low;
        if span <= 0.0 {
            return vec![Tick { place: self.place(self.low), label: short(self.low) }];
        }
        let rough = span / about as f64;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|by| by * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * magnitude);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last)
            .map(|n| n as f64 * step)
            .map(|value| Tick { place: self.place(value), label: short(value) })
            .collect()
    }
}

/// A value's mark on an axis.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tick {
    place: f64,
    label: String,
}

/// A value as a person would write it: `2`, `-0.5`, `12k`.
pub(super) fn short(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return format!("{}k", short(value / 1000.0));
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A histogram's bars and axis.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Histogram {
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    zero: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
}

/// Of `values` between `low` and `high`, in a box of `width` by `height`.
pub(super) fn histogram(values: &[f64], low: f64, high: f64, width: f64, height: f64) -> Histogram {
    const BINS: usize = 32;
    let scale = Scale::new(low, high, 0.0, width);
    let counts = counts(values, low, high, BINS);
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = (high - low) / BINS as f64;
    let bar = |(index, count): (usize, &usize)| {
        let from = low + index as f64 * step;
        let tall = height * *count as f64 / most;
        let of = width / BINS as f64;
        let title = format!("{} to {}: {count}", short(from), short(from + step));
        Bar { x: index as f64 * of, y: height - tall, width: (of - 1.0).max(0.5), height: tall, title }
    };
    Histogram {
        bars: counts.iter().enumerate().map(bar).collect(),
        ticks: scale.ticks(6),
        zero: (low < 0.0 && high > 0.0).then(|| scale.place(0.0)),
    }
}

/// Score against length: points, the mean of each tenth of the lengths, and two axes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scatter {
    points: Vec<(f64, f64)>,
    means: Vec<(f64, f64)>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

/// Of `scores` against `lengths`, in a box of `width` by `height`.
pub(super) fn scatter(lengths: &[f64], scores: &[f64], width: f64, height: f64) -> Scatter {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[a].total_cmp(&lengths[b]));
    // The longest hundredth would squeeze all others to the left; those points stand at the edge.
    let longest = order.get(order.len().saturating_sub(1) * 99 / 100).map_or(1.0, |&index| lengths[index]);
    let (low, high) = bounds(scores);
    let x = Scale::new(0.0, longest.max(1.0), 0.0, width);
    let y = Scale::new(low, high, height, 0.0);
    let point = |index: usize| (x.place(lengths[index].min(longest)), y.place(scores[index]));
    let every = lengths.len().div_ceil(POINTS).max(1);
    let mean = |tenth: &[usize]| {
        let of = |values: &[f64]| tenth.iter().map(|&index| values[index]).sum::<f64>() / tenth.len() as f64;
        (x.place(of(lengths).min(longest)), y.place(of(scores)))
    };
    Scatter {
        // By length, not by place in the file: there, every other row may be a rejected response.
        points: order.iter().step_by(every).map(|&index| point(index)).collect(),
        means: order.chunks(order.len().div_ceil(10).max(1)).map(mean).collect(),
        x_ticks: x.ticks(4),
        y_ticks: y.ticks(4),
    }
}

/// Smallest and largest, apart even where all are one.
pub(super) fn bounds(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_on_the_scale() {
        let labels: Vec<_> =
            Scale::new(-1.3, 4.2, 0.0, 100.0).ticks(4).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0", "2", "4"]);
        assert_eq!(short(12_500.0), "12.5k");
        assert_eq!(short(-0.001), "0");
    }

    #[test]
    fn the_tallest_bar_fills_the_box_and_bars_keep_the_counts() {
        let of = histogram(&[0.0, 0.0, 1.0], 0.0, 1.0, 64.0, 10.0);
        assert_eq!(of.bars.first().map(|bar| bar.height), Some(10.0));
        assert_eq!(of.bars.last().map(|bar| bar.height), Some(5.0));
    }

    #[test]
    fn a_scatter_of_many_draws_a_bounded_number() {
        let lengths: Vec<f64> = (0..100_000).map(f64::from).collect();
        let of = scatter(&lengths, &lengths, 100.0, 100.0);
        assert!(of.points.len() <= POINTS && of.means.len() == 10, "{}", of.points.len());
    }
}
