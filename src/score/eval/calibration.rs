//! How well one score agrees with numbers that people gave the same responses.

use std::fmt::Write;

use serde::Serialize;

use super::{counted, mean, not_included};
use crate::report::statistics::{pearson, spearman};

/// Rows of the reliability curve, at most.
const BINS: usize = 10;

/// A response's score and its label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labelled {
    pub(super) score: f64,
    pub(super) label: f64,
}

/// How a score follows the labels.
#[derive(Clone, Debug, Serialize)]
pub(in crate::score) struct Calibration {
    /// Name of the model.
    model: String,
    /// The score.
    attribute: String,
    /// The column of the labels.
    label: String,
    rows: usize,
    /// Correlation of scores and labels; `None` if one of them is the same in all rows.
    pearson: Option<f64>,
    /// Correlation of their ranks.
    spearman: Option<f64>,
    /// How often the better of two rows with different labels has the higher score; a tie counts half.
    agreement: Option<f64>,
    /// Rows in the order of their scores, in parts of the same size.
    reliability: Vec<Bin>,
    /// Rows without a score or a label.
    pub(super) failed: usize,
}

/// A part of the reliability curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Bin {
    rows: usize,
    /// The lowest and the highest score.
    scores: [f64; 2],
    mean_score: f64,
    mean_label: f64,
}

impl Calibration {
    pub(super) fn new(rows: &[Labelled], names: [String; 3], failed: usize) -> Self {
        let [model, attribute, label] = names;
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let labels: Vec<f64> = rows.iter().map(|row| row.label).collect();
        Self {
            model,
            attribute,
            label,
            rows: rows.len(),
            pearson: pearson(&scores, &labels),
            spearman: spearman(&scores, &labels),
            agreement: agreement(rows),
            reliability: reliability(rows),
            failed,
        }
    }

    pub(super) fn table(&self) -> String {
        let Self { model, attribute, label, rows, .. } = self;
        let figure = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
        let rows = counted(*rows as u64, "row");
        let mut text = format!("{attribute} of {model} against {label}: {rows}\n");
        for (name, value) in
            [("Pearson", self.pearson), ("Spearman", self.spearman), ("agreement", self.agreement)]
        {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<12}{:>10}", figure(value));
        }
        let _ = writeln!(text, "{:>8}{:>24}{:>12}{:>12}", "rows", "scores", "mean score", "mean label");
        for Bin { rows, scores: [least, most], mean_score, mean_label } in &self.reliability {
            let scores = format!("{least:.4} to {most:.4}");
            let _ = writeln!(text, "{rows:>8}{scores:>24}{mean_score:>12.4}{mean_label:>12.4}");
        }
        text + &not_included(self.failed)
    }
}

/// The share of pairs with different labels whose scores are in the same order.
fn agreement(rows: &[Labelled]) -> Option<f64> {
    let mut scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let rank = |score: f64| scores.partition_point(|other| *other < score);
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.label.total_cmp(&b.label));
    let (mut lower, mut agreeing, mut pairs) = (Counts::new(scores.len()), 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.label == b.label) {
        for row in equal {
            let (below, up_to) = (lower.before(rank(row.score)), lower.before(rank(row.score) + 1));
            agreeing += below + (up_to - below) / 2.0;
            pairs += lower.before(scores.len());
        }
        equal.iter().for_each(|row| lower.add(rank(row.score)));
    }
    (pairs > 0.0).then(|| agreeing / pairs)
}

/// How many values have each rank, with fast sums: a Fenwick tree.
struct Counts(Vec<f64>);

impl Counts {
    fn new(ranks: usize) -> Self {
        Self(vec![0.0; ranks + 1])
    }

    fn add(&mut self, rank: usize) {
        let mut index = rank + 1;
        while index < self.0.len() {
            self.0[index] += 1.0;
            index += index & index.wrapping_neg();
        }
    }

    /// How many values have a rank below `rank`.
    fn before(&self, rank: usize) -> f64 {
        let (mut index, mut sum) = (rank, 0.0);
        while index > 0 {
            sum += self.0[index];
            index &= index - 1;
        }
        sum
    }
}

fn reliability(rows: &[Labelled]) -> Vec<Bin> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let bins = BINS.min(sorted.len());
    let mut curve = Vec::with_capacity(bins);
    for bin in 0..bins {
        let part = &sorted[bin * sorted.len() / bins..(bin + 1) * sorted.len() / bins];
        let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
        curve.push(Bin {
            rows: part.len(),
            scores: [first.score, last.score],
            mean_score: mean(part.iter().map(|row| row.score)).unwrap_or_default(),
            mean_label: mean(part.iter().map(|row| row.label)).unwrap_or_default(),
        });
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(scores: &[f64], labels: &[f64]) -> Calibration {
        let rows: Vec<Labelled> =
            scores.iter().zip(labels).map(|(&score, &label)| Labelled { score, label }).collect();
        Calibration::new(&rows, ["m", "help", "rating"].map(str::to_owned), 0)
    }

    /// The figures are those of numpy.corrcoef, of the values and of their ranks.
    #[test]
    fn correlations_are_those_of_numpy() {
        let (scores, labels) = ([0.1, 0.4, 0.4, 0.9, 0.3, 0.7], [1.0, 2.0, 3.0, 5.0, 2.0, 3.0]);
        let calibration = calibration(&scores, &labels);
        assert!((calibration.pearson.unwrap() - PEARSON).abs() < 1e-12, "{calibration:?}");
        assert!((calibration.spearman.unwrap() - SPEARMAN).abs() < 1e-12, "{calibration:?}");
    }

    const PEARSON: f64 = 0.9334108207904297;
    const SPEARMAN: f64 = 0.9254762227411247;

    #[test]
    fn agreement_is_the_share_of_pairs_in_the_same_order() {
        let agreement = |scores: &[f64], labels: &[f64]| calibration(scores, labels).agreement;
        assert_eq!(agreement(&[1.0, 2.0, 3.0], &[0.0, 1.0, 2.0]), Some(1.0));
        assert_eq!(agreement(&[3.0, 2.0, 1.0], &[0.0, 1.0, 2.0]), Some(0.0));
        // Three pairs have different labels: one is in order, one tied, and one not.
        assert_eq!(agreement(&[2.0, 3.0, 2.0, 1.0], &[0.0, 1.0, 1.0, 1.0]), Some(0.5));
        assert_eq!(agreement(&[1.0, 2.0], &[1.0, 1.0]), None);
        let constant = calibration(&[1.0, 1.0], &[1.0, 2.0]);
        assert_eq!((constant.pearson, constant.spearman, constant.agreement), (None, None, Some(0.5)));
    }

    #[test]
    fn the_curve_has_ten_parts_of_the_same_size() {
        let scores: Vec<f64> = (0..100).map(|index| f64::from((index * 37) % 100)).collect();
        let labels: Vec<f64> = scores.iter().map(|score| 2.0 * score).collect();
        let calibration = calibration(&scores, &labels);
        assert_eq!(calibration.reliability.len(), 10);
        let last = Bin { rows: 10, scores: [90.0, 99.0], mean_score: 94.5, mean_label: 189.0 };
        assert_eq!(calibration.reliability[9], last);
        assert!(calibration.table().contains("Pearson         1.0000"), "{}", calibration.table());
        assert_eq!(super::Calibration::new(&[], Default::default(), 3).reliability, []);
    }
}
