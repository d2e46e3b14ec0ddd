//! ProcessBench (Zheng et al. 2024, `code/run_eval.py`): finding the first wrong step.
//!
//! A model predicts the first step whose score is below one half, or that all are right. Among the solutions with a
//! wrong step and among those without one, the accuracy is the share of predictions that equal the label; F1 is the
//! harmonic mean of both. The overall score is the mean of the F1 of the subsets.

use std::collections::BTreeMap;

use super::{BenchmarkRow, Figure, mean};

/// Below this, a step counts as wrong.
const THRESHOLD: f64 = 0.5;

/// Both accuracies and F1 of each subset, and the mean F1.
pub(super) fn figures(rows: &[BenchmarkRow]) -> (Vec<Figure>, Option<f64>) {
    let mut subsets = BTreeMap::<&str, Vec<&BenchmarkRow>>::new();
    for row in rows {
        subsets.entry(subset(row)).or_default().push(row);
    }
    let (mut figures, mut all) = (Vec::new(), Vec::new());
    for (subset, rows) in subsets {
        let right = |has_error: bool| {
            let rows = rows.iter().filter(|row| (row.first_error != Some(-1)) == has_error);
            let count = rows.clone().count();
            (
                count,
                mean(rows.map(|row| f64::from(u8::from(Some(prediction(&row.scores)) == row.first_error)))),
            )
        };
        let ((errors, error), (corrects, correct)) = (right(true), right(false));
        let f1 = error.zip(correct).map(|(a, b)| 2.0 * a * b / (a + b)).filter(|f1| f1.is_finite());
        for (name, rows, value) in
            [("error", errors, error), ("correct", corrects, correct), ("F1", rows.len(), f1)]
        {
            figures.push(Figure { name: format!("{subset} {name}"), rows, value });
        }
        all.push(f1);
    }
    let f1: Option<Vec<f64>> = all.into_iter().collect();
    (figures, f1.and_then(mean))
}

/// The first step that counts as wrong, and -1 if none does.
fn prediction(scores: &[f64]) -> i64 {
    let wrong = scores.iter().position(|score| *score < THRESHOLD);
    wrong.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
}

/// The part of the benchmark that a row is of: its ids are such as `gsm8k-17`.
fn subset(row: &BenchmarkRow) -> &str {
    if !row.subset.is_empty() {
        return &row.subset;
    }
    match row.id.rsplit_once('-') {
        Some((subset, number)) if number.parse::<u64>().is_ok() => subset,
        _ => "all",
    }
}
