//! The command lines of `assay score`, `assay eval` and `assay report`.

use std::path::{Path, PathBuf};

use super::columns::Columns;
use super::eval::Evaluation;
use super::filter::Filter;
use super::judge::Judge;
use super::run::{self, Progress, Scoring};
use super::scored::Gathered;
use super::select::Selection;
use super::shape::{Names, Shape};
use super::{ScoreError, rows, summary};
use crate::cli::output::{eprint_line, print};
use crate::config::{ServeOptions, Settings, positive};
use crate::report::page;

/// Environment variable with the key that a server asks for. No option: options are seen by others.
const KEY: &str = "ASSAY_API_KEY";

/// Exit status of a run in which a response was left without scores.
pub const SOME_FAILED: u8 = 3;

/// What scores, and by which attribute.
#[derive(Clone, Debug, clap::Args)]
struct JudgeArgs {
    /// Engine directory: score in this process
    #[arg(
        long,
        env = "ASSAY_ENGINE",
        value_name = "DIR",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    engine: Option<PathBuf>,
    /// Server to ask, for example http://localhost:8000; its key, if any, in ASSAY_API_KEY
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Model to ask the server for [default: the first it lists]
    #[arg(long, requires = "url", value_name = "NAME")]
    model: Option<String>,
    /// Conversations at the server at once
    #[arg(long, requires = "url", default_value_t = 64, value_name = "COUNT")]
    concurrency: usize,
    /// Threads of the CPU engine [default: one for every core]
    #[arg(long, conflicts_with = "url", value_name = "COUNT", value_parser = positive)]
    threads: Option<usize>,
    /// Attribute that ranks, margins and accuracy follow [default: the model's first]
    #[arg(long, value_name = "ATTRIBUTE")]
    by: Option<String>,
}

/// Score conversations in files: the same rows with a column for each attribute
///
/// Stopped at any moment and run again, it continues.
#[derive(Clone, Debug, clap::Args)]
pub struct ScoreArgs {
    /// JSONL, JSON, CSV or Parquet files by their extension; `-` for JSONL from standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// File to write: .jsonl, .json, .csv or .parquet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    names: Names,
    /// What the names of added columns begin with
    #[arg(long, default_value = "score_", value_name = "TEXT")]
    prefix: String,
    /// Keep only the best response of each prompt
    #[arg(long)]
    best_of: bool,
    /// Keep only what this holds for, for example 'helpfulness>=3 and verbosity<2'
    #[arg(long, value_name = "CONDITION", value_parser = str::parse::<Filter>)]
    filter: Option<Filter>,
}

/// Accuracy over chosen and rejected responses, by subset and section as RewardBench has them
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    /// Rows with chosen, rejected and, where there are any, subset
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    names: Names,
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
}

/// Draw a page of what `assay score` wrote: distributions, pair accuracy, length, examples
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// File that `assay score` wrote
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Page to write [default: the input's name with .html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// What the names of the columns with scores begin with
    #[arg(long, default_value = "score_", value_name = "TEXT")]
    prefix: String,
    /// Attribute that decides pairs and examples [default: the first]
    #[arg(long, value_name = "ATTRIBUTE")]
    by: Option<String>,
    /// Model to name on the page
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

impl JudgeArgs {
    async fn open(&self) -> Result<Judge, ScoreError> {
        if let Some(url) = &self.url {
            let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
            return Judge::server(url, self.model.clone(), key, self.concurrency).await;
        }
        let options =
            ServeOptions { directory: self.engine.clone(), threads: self.threads, ..ServeOptions::default() };
        let settings = Settings::resolve(options).map_err(|error| ScoreError::Option(error.to_string()))?;
        let load = tokio::task::spawn_blocking(move || Judge::engine(settings));
        load.await.map_err(|error| ScoreError::Gone(error.to_string()))?
    }
}

/// Runs `assay score`; gives the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn score(arguments: &ScoreArgs) -> Result<u8, ScoreError> {
    let scoring = Scoring {
        inputs: &arguments.inputs,
        output: &arguments.output,
        names: &arguments.names,
        columns: Columns { prefix: arguments.prefix.clone(), by: arguments.judge.by.clone() },
        selection: Selection { best_of: arguments.best_of, filter: arguments.filter.clone() },
    };
    let found = scoring.look()?;
    let judge = arguments.judge.open().await?;
    let outcome = scoring.run(found, &judge).await?;
    eprint_line(summary::text(&outcome.collector).trim_end());
    eprint_line(format_args!("{}: {} rows", arguments.output.display(), outcome.written));
    Ok(if outcome.failed > 0 { SOME_FAILED } else { 0 })
}

/// Runs `assay eval`; gives the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn eval(arguments: &EvalArgs) -> Result<u8, ScoreError> {
    let columns = Columns { prefix: "score_".into(), by: arguments.judge.by.clone() };
    let (shape, first) = run::look(&arguments.inputs, &arguments.names, &columns)?;
    if !matches!(shape, Shape::Pair { .. }) {
        return Err(ScoreError::Shape(format!(
            "the rows hold {shape}, and pairs are due: name them with --chosen-column and --rejected-column"
        )));
    }
    let judge = arguments.judge.open().await?;
    let mut gathered = Gathered::new(shape.clone(), columns.clone());
    let rows = run::source(arguments.inputs.clone(), first, &shape, &columns, Box::new(std::iter::empty()));
    let progress = Progress::new(&arguments.inputs, 0);
    run::score(rows, &judge, &shape, &columns, progress, |row| gathered.add(row)).await?;
    let evaluation = Evaluation::new(&gathered.finish(), judge.model());
    match arguments.json {
        true => {
            let text = serde_json::to_string_pretty(&evaluation);
            print(text.map_err(|error| ScoreError::Option(error.to_string()))? + "\n");
        }
        false => print(evaluation.table()),
    }
    Ok(if evaluation.failed > 0 { SOME_FAILED } else { 0 })
}

/// Runs `assay report`.
///
/// # Errors
/// See [`ScoreError`].
pub fn report(arguments: &ReportArgs) -> Result<u8, ScoreError> {
    let path: &Path = &arguments.input;
    let columns = Columns { prefix: arguments.prefix.clone(), by: arguments.by.clone() };
    let mut gathered = None;
    for row in rows::open(path)? {
        let row = row?;
        if gathered.is_none() {
            gathered = Some(Gathered::new(Shape::of(&row, &arguments.names)?, columns.clone()));
        }
        if let Some(gathered) = &mut gathered {
            gathered.add(&row)?;
        }
    }
    let collector = gathered.ok_or_else(|| ScoreError::read(path, "it has no rows"))?.finish();
    if collector.attributes.is_empty() {
        return Err(ScoreError::read(
            path,
            format!(
                "no column begins with `{}`; score it with `assay score` first, or say --prefix",
                columns.prefix
            ),
        ));
    }
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let output = arguments.output.clone().unwrap_or_else(|| path.with_extension("html"));
    let page = page::render(&collector, &title, arguments.model.as_deref())
        .map_err(|error| ScoreError::write(&output, error))?;
    std::fs::write(&output, page).map_err(|error| ScoreError::write(&output, error))?;
    eprint_line(format_args!("{}: {} responses", output.display(), collector.responses()));
    Ok(0)
}
