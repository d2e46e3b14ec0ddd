//! What is printed at the end of a run.

use std::fmt::Write;

use crate::report::Collector;
use crate::report::statistics::{Accuracy, interval, summary};

/// Counts, each attribute's distribution, and for pairs how often the chosen one is ahead.
pub fn text(of: &Collector) -> String {
    let mut text = format!("{} responses scored", of.responses());
    if of.failed > 0 {
        let _ = write!(text, ", {} rows without scores", of.failed);
    }
    if of.partly > 0 {
        let _ = write!(text, ", {} rows with a response that has none", of.partly);
    }
    if of.apart > 0 {
        let _ = write!(
            text,
            ", {} rows with other scores than the first, which are not in this summary",
            of.apart
        );
    }
    text.push('\n');
    let width = of.attributes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    if of.responses() > 0 {
        let columns = ["mean", "sd", "low", "5%", "median", "95%", "high"].map(|name| format!("{name:>9}"));
        let _ = writeln!(text, "{:width$}{}", "attribute", columns.concat());
    }
    for (name, scores) in of.attributes.iter().zip(&of.scores) {
        let Some(of) = summary(scores) else { continue };
        let numbers = [of.mean, of.deviation, of.low, of.p5, of.median, of.p95, of.high];
        let numbers = numbers.map(|number| format!("{number:>9.3}")).concat();
        let _ = writeln!(text, "{name:width$}{numbers}");
    }
    if let Some(accuracy) = Accuracy::of(of.pairs.iter().map(|pair| pair.margin)) {
        let (low, high) = interval(accuracy.share(), accuracy.pairs);
        let decided = of.attributes.get(of.deciding).map_or("", String::as_str);
        let _ = writeln!(
            text,
            "chosen ahead by {decided}: {:.1}% of {} pairs (95% interval {:.1}% to {:.1}%), {} ties counted as half",
            100.0 * accuracy.share(),
            accuracy.pairs,
            100.0 * low,
            100.0 * high,
            accuracy.ties,
        );
    }
    text
}
