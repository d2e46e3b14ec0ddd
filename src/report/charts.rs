//! Geometry of the charts: numbers become positions, which the page's template draws.

use serde::Serialize;

use super::statistics::{bin_counts, mean, share_between};

/// Maximum number of points in a scatter plot: more would only make a blot.
const MAX_POINTS: usize = 1500;

/// How many times the wanted number of ticks may be drawn: fewer would leave short axes with a single one.
const MORE_TICKS: f64 = 1.3;

/// A linear scale from values to positions.
#[derive(Clone, Copy, Debug)]
struct Scale {
    min: f64,
    max: f64,
    /// Position of `min`.
    from: f64,
    /// Position of `max`.
    to: f64,
}

impl Scale {
    fn position(&self, value: f64) -> f64 {
        let share = if self.max > self.min { share_between(value, self.min, self.max) } else { 0.5 };
        self.from + share * (self.to - self.from)
    }

    /// About `count` round values on the scale, and their positions.
    fn ticks(&self, count: usize) -> Vec<Tick> {
        let rough = self.max / count as f64 - self.min / count as f64;
        if self.max <= self.min {
            return vec![self.tick(self.min)];
        }
        if rough < f64::MIN_POSITIVE {
            // There are no round numbers between these.
            return vec![self.tick(self.min), self.tick(self.max)];
        }
        let magnitude = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = steps.into_iter().find(|step| *step >= rough / MORE_TICKS).unwrap_or(10.0 * magnitude);
        let first = (self.min / step).ceil();
        let values = (0..=2 * count).map(|index| (first + index as f64) * step);
        values.take_while(|value| *value <= self.max).map(|value| self.tick(value)).collect()
    }

    fn tick(&self, value: f64) -> Tick {
        Tick { place: self.position(value), label: short(value) }
    }
}

/// A labelled position on an axis.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tick {
    place: f64,
    label: String,
}

/// A value in few characters: `2`, `-0.5`, `12k`, `1e9`.
pub(super) fn short(value: f64) -> String {
    if is_extreme(value) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    if value.abs() >= 1000.0 {
        return format!("{}k", short(value / 1000.0));
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A value with two decimals, or with an exponent if these would show nothing or too much.
pub(super) fn fixed(value: f64) -> String {
    if is_extreme(value) { format!("{value:.2e}") } else { format!("{value:.2}") }
}

/// Whether a value has no place in a few plain digits.
fn is_extreme(value: f64) -> bool {
    value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e6)
}

/// Bars and axis of a histogram.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Histogram {
    /// Largest number of responses in a bar.
    most: usize,
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    /// Position of the value 0, if it is on the axis.
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

/// A histogram of `values` between `min` and `max`, in a box of `width` by `height`.
pub(super) fn histogram(values: &[f64], min: f64, max: f64, width: f64, height: f64) -> Histogram {
    const BINS: usize = 32;
    let scale = Scale { min, max, from: 0.0, to: width };
    let counts = bin_counts(values, min, max, BINS);
    let most = counts.iter().copied().max().unwrap_or(0);
    let largest = most.max(1) as f64;
    // The edges between the bars, also where `max - min` is too large for a float.
    let edge = |index: usize| {
        let share = index as f64 / BINS as f64;
        min * (1.0 - share) + max * share
    };
    let bin_width = width / BINS as f64;
    let mut bars = Vec::with_capacity(BINS);
    for (index, count) in counts.into_iter().enumerate() {
        let bar_height = height * count as f64 / largest;
        bars.push(Bar {
            x: index as f64 * bin_width,
            y: height - bar_height,
            width: (bin_width - 1.0).max(0.5),
            height: bar_height,
            title: format!("{} to {}: {count}", short(edge(index)), short(edge(index + 1))),
        });
    }
    Histogram {
        most,
        bars,
        ticks: scale.ticks(6),
        zero: (min < 0.0 && max > 0.0).then(|| scale.position(0.0)),
    }
}

/// Score against length: points, the mean of each tenth of the responses by length, and two axes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scatter {
    points: Vec<(f64, f64)>,
    means: Vec<(f64, f64)>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

/// A scatter plot of `scores` against `lengths`, in a box of `width` by `height`.
pub(super) fn scatter(lengths: &[f64], scores: &[f64], width: f64, height: f64) -> Scatter {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[a].total_cmp(&lengths[b]));
    // The longest 1% would squeeze all others to the left; their points are drawn at the right edge.
    let longest = order.get(order.len().saturating_sub(1) * 99 / 100).map_or(1.0, |&index| lengths[index]);
    let (min, max) = bounds(scores);
    let x = Scale { min: 0.0, max: longest.max(1.0), from: 0.0, to: width };
    let y = Scale { min, max, from: height, to: 0.0 };
    let point = |length: f64, score: f64| (x.position(length.min(longest)), y.position(score));
    let every = lengths.len().div_ceil(MAX_POINTS).max(1);
    let mut means = Vec::new();
    for tenth in order.chunks(order.len().div_ceil(10).max(1)) {
        let mean_of = |values: &[f64]| mean(tenth.iter().map(|&index| values[index]), tenth.len());
        means.push(point(mean_of(lengths), mean_of(scores)));
    }
    Scatter {
        // Every nth by length, not by place in the file: there, every second row may be a rejected response.
        points: order.iter().step_by(every).map(|&index| point(lengths[index], scores[index])).collect(),
        means,
        x_ticks: x.ticks(4),
        y_ticks: y.ticks(4),
    }
}

/// The smallest and the largest value, moved apart if they are equal.
pub(super) fn bounds(values: &[f64]) -> (f64, f64) {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if min < max {
        return (min, max);
    }
    // Half a unit is lost in a large number.
    let apart = (min.abs() / 4.0).max(0.5);
    ((min - apart).max(f64::MIN), (max + apart).min(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_on_the_scale() {
        let scale = Scale { min: -1.3, max: 4.2, from: 0.0, to: 100.0 };
        let labels: Vec<_> = scale.ticks(4).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0", "2", "4"]);
        let scale = Scale { min: -4.0, max: 4.9, from: 0.0, to: 100.0 };
        let labels: Vec<_> = scale.ticks(4).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["-4", "-2", "0", "2", "4"]);
        assert_eq!(short(12_500.0), "12.5k");
        assert_eq!(short(-0.001), "0");
        assert_eq!([short(1e308), short(-5e-324), short(1.5e7)], ["1e308", "-4.9e-324", "1.5e7"]);
    }

    #[test]
    fn the_tallest_bar_fills_the_box_and_the_others_are_in_proportion() {
        let histogram = histogram(&[0.0, 0.0, 1.0], 0.0, 1.0, 64.0, 10.0);
        assert_eq!(histogram.bars.first().map(|bar| bar.height), Some(10.0));
        assert_eq!(histogram.bars.last().map(|bar| bar.height), Some(5.0));
    }

    #[test]
    fn a_scatter_plot_of_many_responses_draws_a_limited_number_of_points() {
        let lengths: Vec<f64> = (0..100_000).map(f64::from).collect();
        let scatter = scatter(&lengths, &lengths, 100.0, 100.0);
        assert!(scatter.points.len() <= MAX_POINTS, "{}", scatter.points.len());
        assert_eq!(scatter.means.len(), 10);
    }
}
