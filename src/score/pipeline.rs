//! The scoring pipeline: a thread reads rows, tasks score several of them at a time, and the results come
//! out in the order of the input.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::add_scores::Scored;
use super::columns::ScoreColumns;
use super::criteria::RowCriteria;
use super::forms::RowLayout;
use super::inspect::Peeked;
use super::journal::JournalRows;
use super::progress::ScoreProgress;
use super::row::Row;
use super::score_source::SharedSource;
use super::signatures::sign_row;
use super::{ScoreError, ScoreResult, Unscored};
use crate::signing::ScoreSigner;

/// Rows that are read ahead, and rows that one engine scores at a time. Responses to one prompt that are this
/// close to each other have its prefix computed once.
const WINDOW: usize = 256;

/// Reads the rows of all inputs, on a thread of its own, and skips those that are `done`. A row
/// that cannot be read, or that has a column like an added one, is replaced by [`ScoreColumns::unreadable_row`].
///
/// The rows that are done are compared with those of the inputs: standard input has no name and no time
/// that would tell one input from another.
pub(super) fn read_rows(
    peeked: Peeked,
    layout: &RowLayout,
    columns: &ScoreColumns,
    done: JournalRows,
) -> ReceiverStream<Result<Row, ScoreError>> {
    let (send, receive) = mpsc::channel(WINDOW);
    let reader = Reader { layout: layout.clone(), columns: columns.clone(), done, send };
    std::thread::spawn(move || reader.run(peeked.into_rows()));
    ReceiverStream::new(receive)
}

struct Reader {
    layout: RowLayout,
    columns: ScoreColumns,
    done: JournalRows,
    send: mpsc::Sender<Result<Row, ScoreError>>,
}

impl Reader {
    /// Sends the rows that are not done, up to the first error.
    fn run(mut self, rows: impl Iterator<Item = Result<Row, ScoreError>>) {
        for (index, row) in rows.enumerate() {
            let Some(row) = self.skip_done(index, row).transpose() else { continue };
            let failed = row.is_err();
            if self.send.blocking_send(row).is_err() || failed {
                return;
            }
        }
        let missing = self.done.count();
        if missing > 0 {
            // Fails if the receiver is gone; then nobody needs the error.
            let _ = self.send.blocking_send(Err(ScoreError::InputShorter(missing)));
        }
    }

    /// The row at `index`, or `None` if it is done.
    fn skip_done(&mut self, index: usize, row: Result<Row, ScoreError>) -> Result<Option<Row>, ScoreError> {
        let row = self.replace_unusable(index, row)?;
        match self.done.next().transpose()? {
            Some(scored) if scored.columns().take(row.len()).eq(row.columns()) => Ok(None),
            Some(_) => Err(ScoreError::InputChanged(index + 1)),
            None => Ok(Some(row)),
        }
    }

    fn replace_unusable(&self, index: usize, row: Result<Row, ScoreError>) -> Result<Row, ScoreError> {
        match row {
            Ok(row) => {
                let Some(column) = self.columns.collision(&row, &self.layout) else { return Ok(row) };
                let reason = format!("row {} of the inputs already has a column `{column}`", index + 1);
                Ok(self.columns.unreadable_row(&reason, &row.json()))
            }
            Err(error) => match &error {
                ScoreError::Row { text, .. } => Ok(self.columns.unreadable_row(&error.to_string(), text)),
                _ => Err(error),
            },
        }
    }
}

/// Scores rows, signs their scores if there is a signer, and passes each to `done`, in the order of the input.
///
/// # Errors
/// Rows cannot be read, scored or passed on any more.
pub(super) async fn score_rows(
    mut rows: ReceiverStream<Result<Row, ScoreError>>,
    (source, signer): (&SharedSource, Option<&Arc<ScoreSigner>>),
    layout: &RowLayout,
    columns: &ScoreColumns,
    mut progress: ScoreProgress,
    mut done: impl FnMut(&Row) -> Result<(), ScoreError>,
) -> Result<(), ScoreError> {
    let mut running = FuturesOrdered::new();
    let window = WINDOW * source.engines();
    let (mut has_more, mut unreadable) = (true, None);
    while has_more || !running.is_empty() {
        tokio::select! {
            row = rows.next(), if has_more && running.len() < window => match row.transpose() {
                // What is being scored is still finished and kept.
                Err(error) => (has_more, unreadable) = (false, Some(error)),
                Ok(Some(row)) => {
                    let task = score_row(row, source.clone(), signer.cloned(), layout.clone(), columns.clone());
                    running.push_back(tokio::spawn(task));
                }
                Ok(None) => has_more = false,
            },
            Some(finished) = running.next(), if !running.is_empty() => {
                let scored = finished.map_err(|error| ScoreError::Gone(error.into()))??;
                done(&scored.row)?;
                progress.add(scored.responses, scored.tokens);
            }
        }
    }
    progress.finish();
    unreadable.map_or(Ok(()), Err)
}

/// A row with its scores, or with the reason why it has none.
struct ScoredRow {
    row: Row,
    /// Number of responses that were scored, and of their tokens.
    responses: usize,
    tokens: usize,
}

async fn score_row(
    mut row: Row,
    source: SharedSource,
    signer: Option<Arc<ScoreSigner>>,
    layout: RowLayout,
    columns: ScoreColumns,
) -> Result<ScoredRow, ScoreError> {
    if columns.is_unreadable(&row) {
        return Ok(ScoredRow { row, responses: 0, tokens: 0 });
    }
    let read = layout.found(&row).and_then(|found| Ok((found, RowCriteria::read(&row, &*source)?)));
    let (mut found, criteria) = match read {
        Ok(read) => read,
        Err(error) => {
            columns.add_error(&mut row, &error.to_string());
            return Ok(ScoredRow { row, responses: 0, tokens: 0 });
        }
    };
    let (mut readable, mut errors) = (Vec::new(), Vec::with_capacity(found.candidates.len()));
    for candidate in std::mem::take(&mut found.candidates) {
        match candidate.turns {
            Ok(turns) => {
                readable.push(turns);
                errors.push(None);
            }
            Err(error) => errors.push(Some(error)),
        }
    }
    let scored = source.score(&readable, criteria.with_variables(&found.variables)).await?;
    debug_assert_eq!(scored.len(), readable.len(), "every conversation has a result");
    let mut scored = scored.into_iter();
    let mut results: Vec<ScoreResult> = Vec::with_capacity(errors.len());
    for error in errors {
        results.push(match error {
            Some(error) => Err(Unscored::Row(error)),
            None => scored.next().unwrap_or_else(|| Err(Unscored::Refused("it was not scored".into()))),
        });
    }
    let signatures = signer.map(|signer| sign_row(&signer, &row, &layout, &results)).unwrap_or_default();
    let scored = Scored { layout: &layout, found: &found, results: &results, signatures: &signatures };
    match columns.add(&mut row, &scored) {
        // Each row has items of its own: another one may have this score.
        Err(error @ ScoreError::UnknownAttribute { .. }) if source.needs_rubrics() => {
            let to_do = "add an item of that name to the row's rubric, or choose another --by";
            columns.add_error(&mut row, &format!("{error}; {to_do}"));
        }
        added => added?,
    }
    let scores = results.iter().flatten();
    let tokens = scores.clone().map(|scores| scores.tokens).sum();
    Ok(ScoredRow { row, responses: scores.count(), tokens })
}
