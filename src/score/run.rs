//! A run of `assay score`: scores what is not scored yet, then writes the output.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::ScoreError;
use super::best_of::RESPONSE;
use super::columns::{RowStatus, ScoreColumns};
use super::forms::{FormArgs, Holds, RowLayout};
use super::inspect::{Peeked, inspect};
use super::journal::{self, Journal, RunIdentity};
use super::output::{self, IndexedRows, Replayable};
use super::pipeline::{read_rows, score_rows};
use super::progress::ScoreProgress;
use super::report_data::ReportDataBuilder;
use super::rows::FileKind;
use super::score_source::SharedSource;
use super::select::{Selection, Selector};
use super::summary::counted;
use super::unread::UnreadColumns;
use crate::cli::output::eprint_line;
use crate::manifest::NUMERICS;
use crate::report::ReportData;
use crate::reward::RankedBy;
use crate::signing::{ScoreSigner, SigningKey};

/// Version of the journal's format.
const JOURNAL_VERSION: u32 = 5;

/// Scores that cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("--signing-key: {0}")]
struct Unsignable(&'static str);

/// What to score, and where to write it.
pub(super) struct ScoreRun<'a> {
    /// Files to score, in this order.
    pub(super) inputs: &'a [PathBuf],
    /// File to write.
    pub(super) output: &'a Path,
    /// What the journal is named after: the output, unless that is standard output.
    pub(super) journal: PathBuf,
    pub(super) form: &'a FormArgs,
    pub(super) columns: ScoreColumns,
    /// The key that signs scores, if they are signed.
    pub(super) signing_key: Option<SigningKey>,
    pub(super) selection: Selection,
    pub(super) unread: UnreadColumns,
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
    /// Finds what can be found wrong before an engine is loaded, and the form of the rows.
    ///
    /// # Errors
    /// The output exists, or the inputs have no conversations.
    pub(super) fn inspect(&mut self) -> Result<(RowLayout, Peeked), ScoreError> {
        // If its journal exists too, the output is that of this run, which was stopped just before its end.
        let is_file = self.output != Path::new("-");
        if is_file && self.output.exists() && !journal::path(self.output).exists() {
            return Err(ScoreError::OutputExists(self.output.to_owned()));
        }
        FileKind::from_path(self.output)?;
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| is_file && !folder.is_dir()) {
            return Err(ScoreError::NoFolder(folder.to_owned()));
        }
        let (layout, peeked) = inspect(self.inputs, self.form, &self.columns)?;
        self.describe(&layout, &peeked);
        Ok((layout, peeked))
    }

    /// Scores what is not scored yet, and writes the output.
    ///
    /// # Errors
    /// Something cannot be read, written or scored any more. The journal keeps what is done, and the next
    /// run continues from there.
    pub(super) async fn run(
        &mut self,
        (mut layout, peeked): (RowLayout, Peeked),
        source: &SharedSource,
    ) -> Result<RunOutcome, ScoreError> {
        source.check_rows(peeked.first(), &self.columns.prefix)?;
        prepare(&mut layout, &mut self.columns, source)?;
        // The names of the attributes are known only now.
        if let Some(row) = peeked.first()
            && let Some(column) = self.columns.collision(row, &layout)
        {
            return Err(ScoreError::ColumnExists {
                path: peeked.path().to_owned(),
                column: column.to_owned(),
            });
        }
        let signer = self.signer(source)?;
        let identity = self.identity(source, &layout, signer.as_deref())?;
        let mut journal = Journal::open(&self.journal, &identity)?;
        if journal.done > 0 {
            let done = counted(journal.done as u64, "row");
            eprint_line(format_args!("resuming after {done} that an earlier run scored"));
        }
        let rows = read_rows(peeked, &layout, &self.columns, journal.rows_done()?);
        let progress = ScoreProgress::new(self.inputs, journal.done);
        let selector = Selector::new(&self.selection, &layout, &self.columns);
        // A filter with an unknown name should not be found out after hours.
        let mut filter_is_checked = false;
        score_rows(rows, (source, signer.as_ref()), &layout, &self.columns, progress, |row| {
            filter_is_checked = filter_is_checked || selector.check(row)?;
            warn_unread(&self.unread.observe(&layout, row));
            journal.append(row)
        })
        .await?;
        journal.conclude(|path| self.write(path, &layout))
    }

    /// Says what form the rows have, and what of them is not used.
    fn describe(&mut self, layout: &RowLayout, peeked: &Peeked) {
        eprint_line(format_args!("{}: each row has {layout}", self.display_inputs()));
        if !layout.others().is_empty() {
            let others = layout.others().join(", ");
            eprint_line(format_args!("other forms that fit: {others}; choose one with --form"));
        }
        let Some(row) = peeked.first() else { return };
        warn_unread(&self.unread.observe(layout, row));
        if self.selection.best_of
            && !matches!(layout.holds(), Holds::One | Holds::Steps)
            && row.contains(RESPONSE)
            && layout.found(row).is_ok_and(|found| !found.columns.iter().any(|column| column == RESPONSE))
        {
            eprint_line(
                "warning: --best-of replaces the column `response` of the input by the best response",
            );
        }
    }

    /// What signs the scores of `source`.
    fn signer(&mut self, source: &SharedSource) -> Result<Option<Arc<ScoreSigner>>, ScoreError> {
        let Some(key) = self.signing_key.take() else { return Ok(None) };
        let engine =
            source.engine_identity().map_err(|reason| ScoreError::Setup(Unsignable(reason).into()))?;
        Ok(Some(Arc::new(ScoreSigner::new(key, &engine))))
    }

    fn identity(
        &self,
        source: &SharedSource,
        layout: &RowLayout,
        signer: Option<&ScoreSigner>,
    ) -> Result<RunIdentity, ScoreError> {
        let ScoreColumns { prefix, by, .. } = &self.columns;
        let signed = signer.map_or_else(String::new, |signer| format!(", signed by {}", signer.key_id()));
        let by = by.as_ref().map(RankedBy::name);
        Ok(RunIdentity {
            assay_journal: JOURNAL_VERSION,
            numerics: NUMERICS,
            inputs: self.inputs.iter().map(|path| fingerprint(path)).collect::<Result<_, _>>()?,
            source: source.identity(),
            questions: source.questions(),
            form: layout.identity(),
            columns: format!("prefix {prefix:?}, by {by:?}{signed}"),
        })
    }

    /// Writes the rows of a journal that the selection keeps.
    fn write(&self, journal: &Path, layout: &RowLayout) -> Result<RunOutcome, ScoreError> {
        let mut data = ReportDataBuilder::new(layout.clone(), self.columns.clone());
        let mut selector = Selector::new(&self.selection, layout, &self.columns);
        let mut failed = 0;
        let mut changed = Vec::new();
        for row in journal::rows(journal)? {
            let row = row?;
            if changed.is_empty() {
                changed = selector.changed_columns(&row);
            }
            failed += usize::from(self.columns.status(&row) != RowStatus::Scored);
            data.add(&row)?;
            selector.observe(&row);
        }
        let selected = SelectedRows { journal, selector, changed };
        let written = output::write(self.output, &selected, self.inputs)
            .map_err(|error| self.keep_journal(error, journal))?;
        Ok(RunOutcome { data: data.finish(), written, failed })
    }

    /// Says that the scored rows are not lost if the output cannot be written.
    fn keep_journal(&self, error: ScoreError, journal: &Path) -> ScoreError {
        match error {
            // What goes to standard output has a journal only during the run.
            ScoreError::Write { path, source } if self.output != Path::new("-") => {
                ScoreError::Output { path, source, journal: journal.to_owned() }
            }
            other => other,
        }
    }

    fn display_inputs(&self) -> String {
        match self.inputs {
            [one] => one.display().to_string(),
            several => format!("{} files", several.len()),
        }
    }
}

/// Names columns that look like a part of the conversation, and are not read.
fn warn_unread(columns: &[String]) {
    if !columns.is_empty() {
        eprint_line(format_args!(
            "warning: not read, though it looks like a part of the conversation: {}; choose another --form, or name the \
             columns with --columns",
            columns.join(", ")
        ));
    }
}

/// Completes the layout and the columns by what the source of scores knows: the token of steps, and which score ranks.
///
/// # Errors
/// The model has no such score, or the rows hold steps and the model scores none.
pub(super) fn prepare(
    layout: &mut RowLayout,
    columns: &mut ScoreColumns,
    source: &SharedSource,
) -> Result<(), ScoreError> {
    layout.set_step_token(source.step_token());
    if layout.holds() == Holds::Steps && source.step_token().is_none() {
        return Err(ScoreError::NotStepwise { model: source.model().to_owned(), form: layout.to_string() });
    }
    columns.attributes = source.attributes();
    let known = source.ranking_names();
    match &columns.by {
        None => columns.by = source.ranked_by().as_deref().map(RankedBy::parse),
        Some(by) if !known.is_empty() && !known.iter().any(|name| name == by.name()) => {
            return Err(ScoreError::UnknownAttribute { by: by.name().to_owned(), known });
        }
        Some(_) => {}
    }
    Ok(())
}

/// The rows of a journal that a selection keeps.
struct SelectedRows<'a> {
    journal: &'a Path,
    selector: Selector<'a>,
    changed: Vec<String>,
}

impl Replayable for SelectedRows<'_> {
    fn rows(&self) -> Result<IndexedRows<'_>, ScoreError> {
        let rows = journal::rows(self.journal)?.enumerate();
        Ok(Box::new(rows.filter_map(|(index, row)| match row {
            Ok(row) => self.selector.keep(index, row).transpose().map(|kept| Ok((index, kept?))),
            Err(error) => Some(Err(error)),
        })))
    }

    /// A file from which a filter dropped all rows has the columns that it would have with them.
    fn rows_of_columns(&self) -> Result<IndexedRows<'_>, ScoreError> {
        let mut rows = self.rows()?.peekable();
        if rows.peek().is_some() {
            return Ok(Box::new(rows));
        }
        let rows = journal::rows(self.journal)?.enumerate();
        Ok(Box::new(rows.map(|(index, row)| Ok((index, self.selector.unfiltered(row?))))))
    }

    fn changed_columns(&self) -> &[String] {
        &self.changed
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

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;
    use crate::score::Row;

    #[test]
    fn a_file_has_its_columns_even_if_a_filter_keeps_no_row() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let scored = r#"{"id":7,"prompt":"p","responses":["a","b"],"score_reward":[1.5,2.0],"score_rank":[2,1],"score_margin":0.5}"#;
        std::fs::write(&journal, format!("{{}}\n{scored}\n")).unwrap();
        let row = Row::parse(scored).unwrap();
        let layout = RowLayout::detect(&row, &FormArgs::default()).unwrap();
        let columns = ScoreColumns::new("score_", None);
        for (best_of, names) in [
            (false, "id,prompt,responses,score_reward,score_rank,score_margin\n"),
            (true, "id,prompt,response,score_reward,score_rank,score_margin\n"),
        ] {
            let selection = Selection { best_of, filter: Some("reward>9".parse().unwrap()) };
            let selector = Selector::new(&selection, &layout, &columns);
            let changed = selector.changed_columns(&row);
            let selected = SelectedRows { journal: &journal, selector, changed };
            let [table, parquet] =
                ["csv", "parquet"].map(|extension| directory.path().join(format!("{best_of}.{extension}")));
            assert_eq!(output::write(&table, &selected, &[]).unwrap(), 0);
            assert_eq!(std::fs::read_to_string(&table).unwrap(), names);
            assert_eq!(output::write(&parquet, &selected, &[]).unwrap(), 0);
            let fields = rows::batches(&parquet).unwrap().schema;
            let found: Vec<&str> = fields.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(found.join(",") + "\n", names);
            assert_eq!(fields.field(0).data_type().to_string(), "Int64");
        }
    }
}
