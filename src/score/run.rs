//! A run of `assay score`: scores what is not scored yet, then writes the output.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::backend::ScoringBackend;
use super::columns::{RowStatus, ScoreColumns};
use super::inspect::{Peeked, inspect};
use super::journal::{self, Journal, RunIdentity};
use super::output;
use super::pipeline::{read_rows, score_rows};
use super::progress::ScoreProgress;
use super::replayable::Replayable;
use super::report_data::ReportDataBuilder;
use super::rows::Format;
use super::select::{Selection, Selector};
use super::shape::{ColumnNames, RowShape};
use super::summary::counted;
use super::{Row, ScoreError};
use crate::cli::output::eprint_line;
use crate::manifest::NUMERICS;
use crate::report::ReportData;

/// Version of the journal's format.
const JOURNAL_VERSION: u32 = 3;

/// What to score, and where to write it.
pub(super) struct ScoreRun<'a> {
    /// Files to score, in this order.
    pub(super) inputs: &'a [PathBuf],
    /// File to write.
    pub(super) output: &'a Path,
    pub(super) names: &'a ColumnNames,
    pub(super) columns: ScoreColumns,
    pub(super) selection: Selection,
}

/// The result of a run.
pub(super) struct RunOutcome {
    /// Everything that was scored, including what the selection dropped.
    pub(super) data: ReportData,
    /// Number of rows in the output.
    pub(super) written: usize,
    /// Number of rows in which a response has no scores.
    pub(super) failed: usize,
}

impl ScoreRun<'_> {
    /// Finds what can be found wrong before an engine is loaded, and the shape of the rows.
    ///
    /// # Errors
    /// The output exists, or the inputs have no conversations.
    pub(super) fn inspect(&self) -> Result<(RowShape, Peeked), ScoreError> {
        // If its journal exists too, the output is that of this run, which was stopped just before its end.
        if self.output.exists() && !journal::path(self.output).exists() {
            return Err(ScoreError::OutputExists(self.output.to_owned()));
        }
        Format::from_path(self.output)?;
        inspect(self.inputs, self.names, &self.columns)
    }

    /// Scores what is not scored yet, and writes the output.
    ///
    /// # Errors
    /// Something cannot be read, written or scored any more. The journal keeps what is done, and the next
    /// run continues from there.
    pub(super) async fn run(
        &self,
        (shape, peeked): (RowShape, Peeked),
        backend: &ScoringBackend,
    ) -> Result<RunOutcome, ScoreError> {
        eprint_line(format_args!("{}: each row has {shape}", self.display_inputs()));
        let mut journal = Journal::open(self.output, &self.identity(backend, &shape)?)?;
        if journal.done > 0 {
            let done = counted(journal.done as u64, "row");
            eprint_line(format_args!("resuming after {done} that an earlier run scored"));
        }
        let rows = read_rows(self.inputs, peeked, &shape, &self.columns, journal.rows_done()?);
        let progress = ScoreProgress::new(self.inputs, journal.done);
        let selector = Selector::new(&self.selection, &shape, &self.columns);
        // A filter with an unknown name should not be found out after hours.
        let mut filter_is_checked = false;
        score_rows(rows, backend, &shape, &self.columns, progress, |row| {
            filter_is_checked = filter_is_checked || selector.check(row)?;
            journal.append(row)
        })
        .await?;
        let path = journal.finish()?;
        let outcome = self.write(path, &shape)?;
        std::fs::remove_file(path).map_err(|error| ScoreError::write(path, error))?;
        Ok(outcome)
    }

    fn identity(&self, backend: &ScoringBackend, shape: &RowShape) -> Result<RunIdentity, ScoreError> {
        let ScoreColumns { prefix, by } = &self.columns;
        Ok(RunIdentity {
            assay_journal: JOURNAL_VERSION,
            numerics: NUMERICS,
            inputs: self.inputs.iter().map(|path| fingerprint(path)).collect::<Result<_, _>>()?,
            backend: backend.identity(),
            shape: shape.to_string(),
            columns: format!("prefix {prefix:?}, by {by:?}"),
        })
    }

    /// Writes the rows of a journal that the selection keeps.
    fn write(&self, journal: &Path, shape: &RowShape) -> Result<RunOutcome, ScoreError> {
        let mut data = ReportDataBuilder::new(shape.clone(), self.columns.clone());
        let mut selector = Selector::new(&self.selection, shape, &self.columns);
        let mut failed = 0;
        for row in journal::rows(journal)? {
            let row = row?;
            failed += usize::from(self.columns.status(&row) != RowStatus::Scored);
            data.add(&row)?;
            selector.observe(&row);
        }
        let selected = SelectedRows { journal, selector };
        let input = self.inputs.first().filter(|path| Format::from_path(path).ok() == Some(Format::Parquet));
        let written = output::write(self.output, &selected, input.map(PathBuf::as_path))?;
        Ok(RunOutcome { data: data.finish(), written, failed })
    }

    fn display_inputs(&self) -> String {
        match self.inputs {
            [one] => one.display().to_string(),
            several => format!("{} files", several.len()),
        }
    }
}

/// The rows of a journal that a selection keeps.
struct SelectedRows<'a> {
    journal: &'a Path,
    selector: Selector<'a>,
}

impl Replayable for SelectedRows<'_> {
    fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row, ScoreError>> + '_>, ScoreError> {
        let rows = journal::rows(self.journal)?.enumerate();
        Ok(Box::new(rows.filter_map(|(index, row)| match row {
            Ok(row) => self.selector.keep(index, row).transpose(),
            Err(error) => Some(Err(error)),
        })))
    }
}

/// Path, size and time of the last change, which tell files apart without reading them.
fn fingerprint(path: &Path) -> Result<String, ScoreError> {
    if path == Path::new("-") {
        return Ok("-".into());
    }
    let metadata = std::fs::metadata(path).map_err(|error| ScoreError::read(path, error))?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = changed.unwrap_or_default().as_nanos();
    Ok(format!("{} {} {nanoseconds}", path.display(), metadata.len()))
}
