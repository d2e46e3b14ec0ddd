//! The summary that `assay score` prints at the end.

use std::fmt::Write;

use indicatif::HumanCount;

use crate::report::ReportData;
use crate::report::statistics::{Summary, wilson_interval};

/// `1 row`, `2,000 rows`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(count))
}

/// Counts, the distribution of each attribute, and for pairs the accuracy.
pub(super) fn text(data: &ReportData) -> String {
    let mut text = counts(data);
    let width = data.attributes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    if data.responses() > 0 {
        let columns = ["mean", "sd", "min", "p5", "median", "p95", "max"].map(|name| format!("{name:>9}"));
        let _ = writeln!(text, "{:width$}{}", "attribute", columns.concat());
    }
    for (index, name) in data.attributes.iter().enumerate() {
        let Some(summary) = data.sample.summary(index) else { continue };
        let Summary { mean, deviation, min, p5, median, p95, max, .. } = summary;
        let numbers = [mean, deviation, min, p5, median, p95, max];
        let _ = writeln!(text, "{name:width$}{}", numbers.map(column).concat());
    }
    if let Some(sampled) = data.sample.sampled() {
        let sampled = counted(sampled as u64, "response");
        let _ = writeln!(text, "p5, median and p95 are of a random sample of {sampled}");
    }
    if let Some(accuracy) = data.accuracy().map(|accuracy| accuracy.by_score) {
        let (low, high) = wilson_interval(accuracy.share(), accuracy.pairs);
        let _ = writeln!(
            text,
            "accuracy by {}: {:.1}% of {} (95% interval {:.1}% to {:.1}%), {} counted as half",
            data.ranking_attribute(),
            100.0 * accuracy.share(),
            counted(accuracy.pairs as u64, "pair"),
            100.0 * low,
            100.0 * high,
            counted(accuracy.ties as u64, "tie"),
        );
    }
    text
}

/// A number in a column of ten characters.
fn column(number: f64) -> String {
    if number.abs() >= 1e5 || number != 0.0 && number.abs() < 1e-6 {
        format!(" {number:>9.1e}")
    } else {
        format!(" {number:>8.3}")
    }
}

fn counts(data: &ReportData) -> String {
    let mut text = format!("{} scored", counted(data.responses() as u64, "response"));
    for (count, what) in [
        (data.failed, "without scores"),
        (data.partly_scored, "partly scored"),
        (data.other_attributes, "with other attributes than the first row, not included here"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {} {what}", counted(count as u64, "row"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!(counted(12_345, "response"), "12,345 responses");
    }
}
