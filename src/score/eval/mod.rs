//! `assay eval`: how well the scores of a model agree with people, by the rules of published benchmarks.
//!
//! Pairs are evaluated as in RewardBench and JudgeBench ([`pairs`]). Lists of
//! chosen and rejected responses are RewardBench 2's ([`rewardbench2`]) or RM-Bench's ([`rm_bench`]), and responses in
//! steps ProcessBench's ([`process_bench`]). With a column of labels, one score is compared with it ([`calibration`]).

mod calibration;
mod pairs;
mod process_bench;
mod rewardbench2;
mod rm_bench;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use self::calibration::{Calibration, Labelled};
use self::pairs::PairEvaluation;
use super::ScoreError;
use super::columns::ScoreColumns;
use super::forms::{Holds, RowLayout};
use super::report_data::ReportDataBuilder;
use super::row::Row;
use super::scores_of_row::{ranking_score, scores_of_row};
use super::subset::subset;
use super::summary::counted;

/// The scores of a row of a benchmark.
#[derive(Clone, Debug, Default)]
struct BenchmarkRow {
    id: String,
    subset: String,
    /// Scores of the chosen responses, then of the rejected ones; or of the steps.
    scores: Vec<f64>,
    /// How many are of chosen responses.
    chosen: usize,
    /// The first wrong step, and -1 if all are right.
    first_error: Option<i64>,
}

/// The result of an evaluation; `assay eval --json` prints it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Evaluation {
    Pairs(PairEvaluation),
    Benchmark(BenchmarkEvaluation),
    Calibration(Calibration),
}

/// Figures of a benchmark other than pairs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BenchmarkEvaluation {
    benchmark: &'static str,
    /// Name of the model.
    model: String,
    /// The score that ranks responses.
    attribute: String,
    figures: Vec<Figure>,
    /// What the benchmark's authors sum it up to, 0 to 1; `None` if a part of the benchmark is missing.
    score: Option<f64>,
    /// Rows that are in no figure, since they lack a score or a label.
    failed: usize,
}

/// One figure of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Figure {
    name: String,
    /// Rows that it is about.
    rows: usize,
    /// 0 to 1; `None` if the rows do not define it.
    value: Option<f64>,
}

/// Collects scored rows, and evaluates them.
pub(super) struct EvaluationBuilder {
    layout: RowLayout,
    columns: ScoreColumns,
    pairs: ReportDataBuilder,
    rows: Vec<BenchmarkRow>,
    /// The column of labels that one score is compared with.
    label: Option<String>,
    labelled: Vec<Labelled>,
    /// Whether the rows are RM-Bench's, which have a `domain`.
    has_domains: bool,
    failed: usize,
}

impl EvaluationBuilder {
    /// An evaluation by the rules of the benchmark that the rows are of, or, with a column `label`, against it.
    pub(super) fn new(layout: RowLayout, columns: ScoreColumns, label: Option<String>) -> Self {
        let pairs = ReportDataBuilder::new(layout.clone(), columns.clone());
        let (rows, labelled) = (Vec::new(), Vec::new());
        Self { layout, columns, pairs, rows, label, labelled, has_domains: false, failed: 0 }
    }

    /// Adds a scored row.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    pub(super) fn add(&mut self, row: &Row) -> Result<(), ScoreError> {
        if let Some(label) = &self.label {
            match self.labelled_row(row, label) {
                Some(row) => self.labelled.push(row),
                None => self.failed += 1,
            }
            return Ok(());
        }
        if matches!(self.layout.holds(), Holds::Pair | Holds::Group) {
            return self.pairs.add(row);
        }
        self.has_domains |= row.contains("domain");
        match self.benchmark_row(row) {
            Some(row) => self.rows.push(row),
            None => self.failed += 1,
        }
        Ok(())
    }

    /// The score and the label of a row; `None` if one is missing.
    fn labelled_row(&self, row: &Row, label: &str) -> Option<Labelled> {
        let found = self.layout.found(row).ok()?;
        let scores = scores_of_row(row, self.layout.holds(), &found, &self.columns);
        let score = ranking_score(scores.first()?, self.columns.by.as_ref())?;
        Some(Labelled { score, label: row.get(label)?.number()? })
    }

    /// The scores of a row; `None` if one is missing, or the label of the steps.
    fn benchmark_row(&self, row: &Row) -> Option<BenchmarkRow> {
        let found = self.layout.found(row).ok()?;
        let scores = scores_of_row(row, self.layout.holds(), &found, &self.columns);
        let scores: Vec<f64> = if self.layout.holds() == Holds::Steps {
            found.first_error?;
            scores.into_iter().flatten().map(|(_, score)| score).collect()
        } else {
            let by = self.columns.by.as_ref();
            scores.iter().map(|scores| ranking_score(scores, by)).collect::<Option<_>>()?
        };
        if scores.is_empty() {
            return None;
        }
        let id = row.get("id").map(|id| id.as_text().unwrap_or_else(|| id.json().to_owned()));
        let (chosen, first_error) = (found.chosen, found.first_error);
        Some(BenchmarkRow { id: id.unwrap_or_default(), subset: subset(row), scores, chosen, first_error })
    }

    /// The result for the scores of `model`.
    pub(super) fn finish(self, model: &str) -> Evaluation {
        if let Some(label) = &self.label {
            let names = [model.to_owned(), self.attribute(), label.clone()];
            return Evaluation::Calibration(Calibration::new(&self.labelled, names, self.failed));
        }
        let (benchmark, (figures, score)) = match self.layout.holds() {
            Holds::Steps => ("ProcessBench", process_bench::figures(&self.rows)),
            Holds::Lists if self.has_domains => ("RM-Bench", rm_bench::figures(&self.rows)),
            Holds::Lists => ("RewardBench 2", rewardbench2::figures(&self.rows)),
            _ => return Evaluation::Pairs(PairEvaluation::new(&self.pairs.finish(), model)),
        };
        let attribute = self.attribute();
        let (model, failed) = (model.to_owned(), self.failed);
        Evaluation::Benchmark(BenchmarkEvaluation { benchmark, model, attribute, figures, score, failed })
    }

    /// The name of the score that is evaluated.
    fn attribute(&self) -> String {
        let by = self.columns.by.as_ref().map(|by| by.name().to_owned());
        by.or_else(|| self.columns.attributes.first().cloned()).unwrap_or_default()
    }
}

impl Evaluation {
    /// Rows that are in no figure.
    pub(super) fn failed(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.failed,
            Self::Benchmark(benchmark) => benchmark.failed,
            Self::Calibration(calibration) => calibration.failed,
        }
    }

    /// The result as a table.
    pub(super) fn table(&self) -> String {
        match self {
            Self::Pairs(pairs) => pairs.table(),
            Self::Benchmark(benchmark) => benchmark.table(),
            Self::Calibration(calibration) => calibration.table(),
        }
    }
}

impl BenchmarkEvaluation {
    fn table(&self) -> String {
        let by = if self.benchmark == "ProcessBench" { "by steps" } else { &self.attribute };
        let mut text = format!("{}: {}, {by}\n", self.benchmark, self.model);
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(9);
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:>9.1}%", 100.0 * value),
            None => format!("{:>10}", "undefined"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:width$}{:>8}{:>10}", "figure", "rows", "value");
        for Figure { name, rows, value } in &self.figures {
            let _ = writeln!(text, "{name:width$}{rows:>8}{}", percent(*value));
        }
        if self.score.is_some() {
            let _ = writeln!(text, "{:width$}{:>8}{}", "Score", "", percent(self.score));
        } else {
            text.push_str("no overall score: a part of the benchmark is missing\n");
        }
        text + &not_included(self.failed)
    }
}

/// How many rows are in no figure; empty if all are.
fn not_included(failed: usize) -> String {
    if failed == 0 {
        return String::new();
    }
    format!("not included: {} without all scores and labels\n", counted(failed as u64, "row"))
}

/// Rows by subset.
fn by_subset(rows: &[BenchmarkRow]) -> BTreeMap<&str, Vec<&BenchmarkRow>> {
    let mut subsets = BTreeMap::<&str, Vec<&BenchmarkRow>>::new();
    for row in rows {
        subsets.entry(&row.subset).or_default().push(row);
    }
    subsets
}

/// The mean of some values; `None` if there are none.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}
