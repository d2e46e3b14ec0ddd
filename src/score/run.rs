//! The way of all rows: read, scored several at a time, kept in order.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;

use super::columns::{Columns, Standing};
use super::journal::{self, Journal, Run};
use super::judge::Judge;
use super::output::{self, Again};
use super::scored::Gathered;
use super::select::{Selection, Selector};
use super::shape::{Names, Shape};
use super::{Row, ScoreError, Verdict, rows};
use crate::cli::output::eprint_line;
use crate::manifest::NUMERICS;
use crate::report::Collector;

/// Rows that are read ahead, and those that are scored at once: responses to one prompt that stand so
/// near each other have its prefix computed once.
const WINDOW: usize = 256;
/// Time between two lines where there is no terminal to draw on.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A run of `assay score`.
pub struct Scoring<'a> {
    /// Files to score, in this order.
    pub inputs: &'a [PathBuf],
    /// File to write.
    pub output: &'a Path,
    /// Column names that were given.
    pub names: &'a Names,
    /// Columns to add.
    pub columns: Columns,
    /// What to keep.
    pub selection: Selection,
}

/// What a run did.
pub struct Outcome {
    /// Everything scored, what a selection dropped included.
    pub collector: Collector,
    /// Rows in the output.
    pub written: usize,
    /// Rows that lack a score.
    pub failed: usize,
}

impl Scoring<'_> {
    /// What can be found wrong, or out, before anything that scores is loaded.
    ///
    /// # Errors
    /// The output is there already, or the inputs hold no conversations.
    pub fn look(&self) -> Result<(Shape, First), ScoreError> {
        // With its journal beside it, it is this run's own, which was stopped in its last moment.
        if self.output.exists() && !journal::path(self.output).exists() {
            return Err(ScoreError::Occupied(format!(
                "{} is there already: a run has ended, or the file is another's; delete it, or choose another \
                 --output",
                self.output.display()
            )));
        }
        rows::Format::of(self.output)?;
        look(self.inputs, self.names, &self.columns)
    }

    /// Scores what is not scored yet, and writes the output.
    ///
    /// # Errors
    /// Nothing can be read, written or scored any more. What is done is kept, and the next run
    /// continues from there.
    pub async fn run(&self, (shape, first): (Shape, First), judge: &Judge) -> Result<Outcome, ScoreError> {
        eprint_line(format_args!("{}: {shape}", display(self.inputs)));
        let mut journal = Journal::open(self.output, &self.identity(judge, &shape)?)?;
        if journal.done > 0 {
            eprint_line(format_args!(
                "continuing behind {} rows that are done",
                HumanCount(journal.done as u64)
            ));
        }
        let rows = source(self.inputs.to_vec(), first, &shape, &self.columns, journal.rows_done()?);
        let progress = Progress::new(self.inputs, journal.done);
        // A filter that fits no row should not be found out after hours.
        let (selector, mut checked) = (Selector::new(&self.selection, &shape, &self.columns), false);
        score(rows, judge, &shape, &self.columns, progress, |row| {
            checked = checked || selector.check(row).map_err(ScoreError::Option)?;
            journal.append(row)
        })
        .await?;
        let path = journal.finish()?;
        let outcome = self.write(path, &shape)?;
        std::fs::remove_file(path).map_err(|error| ScoreError::write(path, error))?;
        Ok(outcome)
    }

    fn identity(&self, judge: &Judge, shape: &Shape) -> Result<Run, ScoreError> {
        Ok(Run {
            assay_journal: 2,
            numerics: NUMERICS,
            inputs: self.inputs.iter().map(|path| fingerprint(path)).collect::<Result<_, _>>()?,
            judge: judge.identity(),
            shape: shape.to_string(),
            columns: format!("{:?}", self.columns),
        })
    }

    fn write(&self, journal: &Path, shape: &Shape) -> Result<Outcome, ScoreError> {
        let mut gathered = Gathered::new(shape.clone(), self.columns.clone());
        let mut selector = Selector::new(&self.selection, shape, &self.columns);
        let mut failed = 0;
        for row in journal::rows(journal)? {
            let row = row?;
            failed += usize::from(self.columns.standing(&row) != Standing::Whole);
            gathered.add(&row)?;
            selector.see(&row);
        }
        let kept = Kept { journal, selector };
        let parquet =
            self.inputs.first().filter(|path| rows::Format::of(path).ok() == Some(rows::Format::Parquet));
        let written = output::write(self.output, &kept, parquet.map(PathBuf::as_path))?;
        Ok(Outcome { collector: gathered.finish(), written, failed })
    }
}

/// The rows of a journal that a selection keeps.
struct Kept<'a> {
    journal: &'a Path,
    selector: Selector<'a>,
}

impl Again for Kept<'_> {
    fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row, ScoreError>> + '_>, ScoreError> {
        let kept = |(index, row): (usize, Result<Row, ScoreError>)| match row {
            Ok(row) => self.selector.keep(index, row).map_err(ScoreError::Option).transpose(),
            Err(error) => Some(Err(error)),
        };
        Ok(Box::new(journal::rows(self.journal)?.enumerate().filter_map(kept)))
    }
}

/// A file's rows, the first of which were read already: standard input cannot be read twice.
pub struct First {
    rows: Vec<Result<Row, ScoreError>>,
    rest: rows::Rows,
}

/// Rows that are looked at for the shape of all.
const LOOK: usize = 64;

/// Finds the shape of the rows of `inputs`: that of the first row which has one.
///
/// # Errors
/// There are none, they are of no known shape, or have columns that would be replaced.
pub fn look(inputs: &[PathBuf], names: &Names, columns: &Columns) -> Result<(Shape, First), ScoreError> {
    let path = inputs.first().ok_or_else(|| ScoreError::Option("no input is named".into()))?;
    let mut rest = rows::open(path)?;
    let (mut rows, mut wrong) = (Vec::new(), None);
    for row in rest.by_ref().take(LOOK) {
        match row.as_ref().map(|row| (row, Shape::of(row, names))) {
            Ok((row, Ok(shape))) => {
                if let Some(column) = columns.collision(row, &shape) {
                    return Err(ScoreError::Option(format!(
                        "{} has a column `{column}` already: name the added ones otherwise with --prefix",
                        path.display()
                    )));
                }
                rows.push(Ok(row.clone()));
                return Ok((shape, First { rows, rest }));
            }
            Ok((_, Err(error))) => wrong = wrong.or(Some(error)),
            Err(_) => {}
        }
        match row {
            Err(error) if !matches!(error, ScoreError::Row { .. }) => return Err(error),
            row => rows.push(row),
        }
    }
    let unread = rows.into_iter().find_map(Result::err);
    Err(wrong.or(unread).unwrap_or_else(|| ScoreError::read(path, "it has no rows")))
}

/// Rows of all inputs behind those that are `done`, read on a thread of their own. One that cannot be
/// read, or has a column of ours already, is [`Columns::unread`].
///
/// The rows that are done are compared with those of the inputs: standard input has no name and no time
/// by which to tell that it is another.
pub fn source(
    inputs: Vec<PathBuf>,
    first: First,
    shape: &Shape,
    columns: &Columns,
    mut done: journal::Rows,
) -> ReceiverStream<Result<Row, ScoreError>> {
    let (send, receive) = tokio::sync::mpsc::channel(WINDOW);
    let (shape, columns) = (shape.clone(), columns.clone());
    std::thread::spawn(move || {
        let others = inputs.into_iter().skip(1).flat_map(|path| match rows::open(&path) {
            Ok(rows) => rows,
            Err(error) => Box::new(std::iter::once(Err(error))) as rows::Rows,
        });
        for (index, row) in first.rows.into_iter().chain(first.rest).chain(others).enumerate() {
            let row = match (taken(index, row, &shape, &columns), done.next()) {
                (Ok(row), Some(Ok(scored))) if scored.iter().take(row.len()).eq(row.iter()) => continue,
                (Ok(_), Some(Ok(_))) => Err(changed(index)),
                (Err(error), _) | (_, Some(Err(error))) => Err(error),
                (row, None) => row,
            };
            let failed = row.is_err();
            if send.blocking_send(row).is_err() || failed {
                return;
            }
        }
        if let Some(index) = done.next().map(|_| done.count()) {
            // Nobody is left to hear of it where this fails.
            let _ = send.blocking_send(Err(ScoreError::Occupied(format!(
                "the inputs end {} rows before what is scored of them: give those of the run that was stopped, \
                 or delete the .partial file to begin anew",
                index + 1
            ))));
        }
    });
    ReceiverStream::new(receive)
}

/// The row at `index`, or what stands for it.
fn taken(
    index: usize,
    row: Result<Row, ScoreError>,
    shape: &Shape,
    columns: &Columns,
) -> Result<Row, ScoreError> {
    match row {
        Ok(row) => match columns.collision(&row, shape) {
            None => Ok(row),
            Some(column) => {
                let reason = format!("row {} of the inputs has a column `{column}` already", index + 1);
                Ok(columns.unread(reason, Value::Object(row).to_string()))
            }
        },
        Err(error) => match &error {
            ScoreError::Row { text, .. } => Ok(columns.unread(error.to_string(), text.clone())),
            _ => Err(error),
        },
    }
}

fn changed(index: usize) -> ScoreError {
    ScoreError::Occupied(format!(
        "row {} of the inputs is not what was scored in its place: give the inputs of the run that was stopped, \
         or delete the .partial file to begin anew",
        index + 1
    ))
}

/// Scores rows, and hands each to `done` in the order in which they came.
///
/// # Errors
/// No more can be read, scored or handed over.
pub async fn score(
    mut rows: ReceiverStream<Result<Row, ScoreError>>,
    judge: &Judge,
    shape: &Shape,
    columns: &Columns,
    mut progress: Progress,
    mut done: impl FnMut(&Row) -> Result<(), ScoreError>,
) -> Result<(), ScoreError> {
    let mut running = FuturesOrdered::new();
    let mut more = true;
    while more || !running.is_empty() {
        tokio::select! {
            row = rows.next(), if more && running.len() < WINDOW => match row.transpose()? {
                Some(row) => {
                    let task = scored(row, judge.clone(), shape.clone(), columns.clone());
                    running.push_back(tokio::spawn(task));
                }
                None => more = false,
            },
            Some(finished) = running.next(), if !running.is_empty() => {
                let (row, responses, tokens) = finished.map_err(|error| ScoreError::Gone(error.to_string()))??;
                done(&row)?;
                progress.row(responses, tokens);
            }
        }
    }
    progress.finish();
    Ok(())
}

/// A row with its scores, or with why it has none; the number of its responses; their tokens.
async fn scored(
    mut row: Row,
    judge: Judge,
    shape: Shape,
    columns: Columns,
) -> Result<(Row, usize, usize), ScoreError> {
    if columns.is_unread(&row) {
        return Ok((row, 0, 0));
    }
    let conversations = match shape.conversations(&row) {
        Ok(conversations) => conversations,
        Err(reason) => {
            columns.fail(&mut row, &reason);
            return Ok((row, 0, 0));
        }
    };
    let mut asked = Vec::new();
    let found: Vec<Result<(), String>> =
        conversations.into_iter().map(|found| found.map(|turns| asked.push(turns))).collect();
    let mut answers = judge.judge(&asked).await?.into_iter();
    let lost = || Err("the scorer gave no answer".into());
    let verdicts: Vec<Verdict> =
        found.into_iter().map(|found| found.and_then(|()| answers.next().unwrap_or_else(lost))).collect();
    columns.add(&mut row, &shape, &verdicts).map_err(ScoreError::Option)?;
    let scored = || verdicts.iter().flatten();
    let (responses, tokens) = (scored().count(), scored().map(|judged| judged.tokens).sum());
    Ok((row, responses, tokens))
}

/// Path, bytes and time of change: what tells a file from another without reading it.
fn fingerprint(path: &Path) -> Result<String, ScoreError> {
    if path == Path::new("-") {
        return Ok("-".into());
    }
    let about = std::fs::metadata(path).map_err(|error| ScoreError::read(path, error))?;
    let changed =
        about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Ok(format!("{} {} {}", path.display(), about.len(), changed.as_nanos()))
}

fn display(inputs: &[PathBuf]) -> String {
    match inputs {
        [one] => one.display().to_string(),
        _ => format!("{} files", inputs.len()),
    }
}

/// A bar on a terminal, lines now and then elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    last: Instant,
    rows: u64,
    responses: u64,
    tokens: u64,
}

impl Progress {
    /// Of the rows of `inputs`, `done` of which are done. They are counted while the first are scored.
    pub fn new(inputs: &[PathBuf], done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {percent:>3}%  eta {eta}  {wide_msg}");
            let bar =
                ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            let (inputs, counted) = (inputs.to_vec(), bar.clone());
            std::thread::spawn(move || {
                if let Some(rows) = inputs.iter().map(|path| rows::count(path)).sum::<Option<u64>>() {
                    counted.set_length(rows.saturating_sub(done as u64));
                }
            });
            bar
        });
        let now = Instant::now();
        Self { bar, began: now, last: now, rows: 0, responses: 0, tokens: 0 }
    }

    fn row(&mut self, responses: usize, tokens: usize) {
        self.rows += 1;
        self.responses += responses as u64;
        self.tokens += tokens as u64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.rows);
                bar.set_message(self.text());
            }
            None if self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                eprint_line(self.text());
            }
            None => {}
        }
    }

    fn text(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        let rate = |count: u64| HumanCount((count as f64 / seconds) as u64);
        format!(
            "{} rows, {} responses: {} responses/s, {} tokens/s",
            HumanCount(self.rows),
            HumanCount(self.responses),
            rate(self.responses),
            rate(self.tokens)
        )
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.rows > 0 {
            eprint_line(self.text());
        }
    }
}
