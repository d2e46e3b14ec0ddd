//! The command lines of `assay score`, `assay eval` and `assay report`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::client::{API_KEY, RequestSettings, RewardClient};
use super::columns::ScoreColumns;
use super::eval::EvaluationBuilder;
use super::filter::Filter;
use super::forms::{FormArgs, Holds, RowLayout};
use super::in_process::InProcess;
use super::inspect::{Peeked, inspect};
use super::interrupt::exit_on_interrupt;
use super::pipeline::{read_rows, score_rows};
use super::progress::ScoreProgress;
use super::report_data::ReportDataBuilder;
use super::run::{ScoreRun, prepare};
use super::score_source::SharedSource;
use super::scored_file::ScoredFileArgs;
use super::select::Selection;
use super::summary::counted;
use super::unread::UnreadColumns;
use super::{ScoreError, rows, summary};
use crate::cache::ModelOptions;
use crate::cli::output::{eprint_line, print};
use crate::config::{ServeOptions, Settings, template_variables, thread_count};
use crate::engine::simulated::Simulation;
use crate::manifest::judge::read_rubric_file;
use crate::prompt::TemplateVariables;
use crate::report::page;
use crate::signing::{PublicKey, SigningKey};

/// Prefix of columns that are not written. No column of a file has a name like that.
const UNWRITTEN: &str = "\u{1}score_";

/// Exit status of a run in which a response was left without scores.
const SOME_FAILED: u8 = 3;

/// What scores, and which attribute ranks.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("source").args(["engine", "urls"]).required(true))]
struct SourceArgs {
    /// Model to score with in this process: an engine directory, a checkpoint directory, or OWNER/NAME of a model in the
    /// Hugging Face cache
    #[arg(long, env = "ASSAY_ENGINE", value_name = "MODEL")]
    engine: Option<PathBuf>,
    /// Server that scores, for example http://localhost:8000; repeat it for several of the same engine. Set their API
    /// key, if any, in ASSAY_API_KEY
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Model to ask the server for [default: the first that it lists]
    #[arg(long, requires = "urls", value_name = "NAME")]
    model: Option<String>,
    /// Public key, in PEM (Ed25519), that must have signed every response with scores (docs/signing.md)
    #[arg(long, requires = "urls", value_name = "FILE")]
    verify_key: Option<PathBuf>,
    /// Maximum number of conversations in flight to each server
    #[arg(long, requires = "urls", default_value_t = 64, value_name = "COUNT")]
    concurrency: usize,
    /// Threads of the CPU engine [default: one per core]
    #[arg(long, conflicts_with = "urls", value_name = "COUNT", value_parser = thread_count)]
    threads: Option<usize>,
    /// Simulate the engine, to try a file without computing anything; scores mean nothing
    #[arg(long, conflicts_with = "urls")]
    simulate: bool,
    /// Variables for the chat template, as JSON, such as '{"enable_thinking": false}'
    #[arg(long, value_name = "JSON", value_parser = template_variables)]
    chat_template_kwargs: Option<TemplateVariables>,
    /// Score that ranks, margins and accuracy follow: an attribute, `weighted`, or for steps min(step), mean(step),
    /// last(step) or prod(step) [default: that of /v1/rewards, the weighted sum or mixture, else the lowest step, else
    /// the first attribute]
    #[arg(long, value_name = "SCORE")]
    by: Option<String>,
    /// File of a judge: questions to ask a language model about each conversation (docs/judges.md)
    #[arg(long, conflicts_with = "urls", value_name = "FILE")]
    judge: Option<PathBuf>,
    /// File of a rubric: weighted questions for a language model (docs/judges.md) [default: the column `rubric` of each
    /// row, if the model has no scores]
    #[arg(long, conflicts_with = "judge", value_name = "FILE")]
    rubric: Option<PathBuf>,
    #[command(flatten)]
    build: ModelOptions,
}

/// Score conversations in files: write the same rows with a column for each attribute
///
/// An interrupted run continues when you run the same command again.
#[derive(Clone, Debug, clap::Args)]
pub struct ScoreArgs {
    /// JSONL, JSON, CSV, TSV or Parquet files, by their extension, which .gz or .zst may follow; `-` for JSON from
    /// standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// File to write: .jsonl, .json, .csv, .tsv (all also .gz or .zst) or .parquet; `-` for JSONL to standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    form: FormArgs,
    /// Start of the names of added columns
    #[arg(long, default_value = "score_", value_name = "TEXT")]
    prefix: String,
    /// Private key that signs the scores of each response, in PEM (Ed25519): adds a column that `assay verify` checks
    /// (docs/signing.md)
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Keep only the best response to each prompt
    #[arg(long)]
    best_of: bool,
    /// Keep only responses that a condition is true for, for example 'helpfulness>=3 and verbosity<2'
    #[arg(long, value_name = "CONDITION", value_parser = str::parse::<Filter>)]
    filter: Option<Filter>,
}

/// Evaluate a model on RewardBench 1 or 2, RM-Bench, JudgeBench, ProcessBench, or any pairs
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    /// Files of pairs, of lists of chosen and rejected responses, of labelled responses, or of steps
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    form: FormArgs,
    /// Compare one score of each row's conversation with the numbers in this column: Pearson's and Spearman's
    /// correlation, agreement, and the reliability curve
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Render an HTML report of scored rows: distributions, pair accuracy, length, examples
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// File that `assay score` wrote
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// HTML file to write [default: the input's name with .html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    file: ScoredFileArgs,
    /// Score that ranks pairs and examples [default: the one that ranked the rows of the file]
    #[arg(long, value_name = "SCORE")]
    by: Option<String>,
    /// Name of the model, to show in the report
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

impl SourceArgs {
    async fn open(&self, command: &'static str) -> Result<SharedSource, ScoreError> {
        if !self.urls.is_empty() {
            let rubric = self.rubric.as_deref().map(read_rubric_file).transpose();
            let settings = RequestSettings {
                model: self.model.clone(),
                variables: self.chat_template_kwargs.clone().unwrap_or_default(),
                rubric: rubric.map_err(|error| ScoreError::Setup(error.into()))?,
                verify_key: read_verify_key(self.verify_key.as_deref())?,
            };
            let client = RewardClient::connect(&self.urls, settings, api_key(), self.concurrency).await?;
            return Ok(Arc::new(client));
        }
        let options = ServeOptions {
            directory: self.engine.clone(),
            threads: self.threads,
            judge: self.judge.clone().or(self.rubric.clone()),
            simulate: self.simulate.then_some(Simulation::Instant),
            chat_template_kwargs: self.chat_template_kwargs.clone(),
            ..ServeOptions::default()
        };
        load_with(options, &self.build, command).await
    }
}

/// The key that must have signed responses, if there is one.
///
/// # Errors
/// [`ScoreError::Setup`].
pub(super) fn read_verify_key(file: Option<&Path>) -> Result<Option<Arc<PublicKey>>, ScoreError> {
    let key = file.map(PublicKey::read).transpose().map_err(|error| ScoreError::Setup(error.into()))?;
    Ok(key.map(Arc::new))
}

/// The API key of servers, if there is one.
pub(super) fn api_key() -> Option<String> {
    std::env::var(API_KEY).ok().filter(|key| !key.is_empty())
}

/// Loads the model that `options` name into this process; `command` is the command line up to it.
///
/// # Errors
/// [`ScoreError::Setup`].
pub(super) async fn load_with(
    options: ServeOptions,
    build: &ModelOptions,
    command: &'static str,
) -> Result<SharedSource, ScoreError> {
    let settings = Settings::resolve(options).map_err(|error| ScoreError::Setup(error.into()))?;
    let build = build.clone();
    let load = tokio::task::spawn_blocking(move || InProcess::load(settings, &build, command));
    let engine = load.await.map_err(|error| ScoreError::Gone(error.into()))??;
    Ok(Arc::new(engine))
}

/// Runs `assay score`, and returns the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn score(arguments: &ScoreArgs) -> Result<u8, ScoreError> {
    // What goes to standard output cannot be continued, and needs no journal after the run.
    let scratch = if arguments.output == Path::new("-") {
        Some(tempfile::tempdir().map_err(|error| ScoreError::write(&std::env::temp_dir(), error))?)
    } else {
        None
    };
    let signing_key = arguments.signing_key.as_deref().map(SigningKey::read).transpose();
    let signing_key = signing_key.map_err(|error| ScoreError::Setup(error.into()))?;
    let mut run = ScoreRun {
        inputs: &arguments.inputs,
        output: &arguments.output,
        journal: scratch.as_ref().map_or(arguments.output.clone(), |scratch| scratch.path().join("rows")),
        form: &arguments.form,
        columns: ScoreColumns::new(&arguments.prefix, arguments.source.by.as_deref()),
        signing_key,
        selection: Selection { best_of: arguments.best_of, filter: arguments.filter.clone() },
        unread: UnreadColumns::default(),
    };
    let inspected = run.inspect()?;
    let source = arguments.source.open("assay score --engine").await?;
    exit_on_interrupt(&arguments.output);
    let outcome = run.run(inspected, &source).await?;
    eprint_line(summary::text(&outcome.data).trim_end());
    let written = counted(outcome.written as u64, "row");
    let place =
        if scratch.is_some() { "standard output".into() } else { arguments.output.display().to_string() };
    eprint_line(format_args!("wrote {written} to {place}"));
    Ok(if outcome.failed > 0 { SOME_FAILED } else { 0 })
}

/// Runs `assay eval`, and returns the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn eval(arguments: &EvalArgs) -> Result<u8, ScoreError> {
    let EvalArgs { inputs, source, form, label, json } = arguments;
    let mut columns = ScoreColumns::new(UNWRITTEN, source.by.as_deref());
    let (mut layout, peeked) = inspect(inputs, form, &columns)?;
    let has_labels = |row| layout.found(row).is_ok_and(|found| !found.ratings.is_empty());
    let is_unlabelled = layout.holds() == Holds::Group && !peeked.first().is_some_and(has_labels);
    if let Some(label) = label {
        check_label(label, &layout, &peeked)?;
    } else if layout.holds() == Holds::One || is_unlabelled {
        return Err(ScoreError::NotPairs(layout.to_string()));
    }
    let source = source.open("assay eval --engine").await?;
    source.check_rows(peeked.first(), UNWRITTEN)?;
    prepare(&mut layout, &mut columns, &source)?;
    let mut evaluation = EvaluationBuilder::new(layout.clone(), columns.clone(), label.clone());
    let rows = read_rows(peeked, &layout, &columns, Box::new(std::iter::empty()));
    let progress = ScoreProgress::new(inputs, 0);
    score_rows(rows, (&source, None), &layout, &columns, progress, |row| evaluation.add(row)).await?;
    let evaluation = evaluation.finish(source.model());
    if *json {
        let text = serde_json::to_string_pretty(&evaluation);
        print(text.map_err(|error| ScoreError::write(Path::new("-"), error))? + "\n");
    } else {
        print(evaluation.table());
    }
    Ok(if evaluation.failed() > 0 { SOME_FAILED } else { 0 })
}

/// Checks that rows have one conversation and a label.
fn check_label(label: &str, layout: &RowLayout, peeked: &Peeked) -> Result<(), ScoreError> {
    if layout.holds() != Holds::One {
        return Err(ScoreError::NotOneConversation(layout.to_string()));
    }
    let Some(row) = peeked.first() else { return Ok(()) };
    let cell = row.get(label).ok_or_else(|| ScoreError::NoLabel(label.to_owned()))?;
    // A row may lack a label.
    if cell.is_null() || cell.number().is_some() {
        return Ok(());
    }
    Err(ScoreError::NotANumber { label: label.to_owned(), found: cell.json().chars().take(40).collect() })
}

/// Whether two paths lead to one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Runs `assay report`, and returns the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub fn report(arguments: &ReportArgs) -> Result<u8, ScoreError> {
    let path: &Path = &arguments.input;
    let output = arguments.output.clone().unwrap_or_else(|| path.with_extension("html"));
    if is_same_file(path, &output) {
        return Err(ScoreError::OutputIsInput(output));
    }
    let columns = arguments.file.columns(arguments.by.as_deref())?;
    let form = arguments.file.form_of(&arguments.input);
    let mut builder: Option<ReportDataBuilder> = None;
    for row in rows::open(path)? {
        let row = row?;
        let builder = match &mut builder {
            Some(builder) => builder,
            none => {
                let layout = RowLayout::detect(&row, &form)?;
                none.insert(ReportDataBuilder::new(layout, columns.clone()))
            }
        };
        builder.add(&row)?;
    }
    let data = builder.ok_or_else(|| ScoreError::read(path, "it has no rows"))?.finish();
    if data.attributes.is_empty() {
        let names = columns.attributes.iter().map(|name| columns.name(name)).collect();
        return Err(ScoreError::NotScored { path: path.to_owned(), prefix: columns.prefix, names });
    }
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let page = page::render(&data, &title, arguments.model.as_deref())
        .map_err(|error| ScoreError::write(&output, error))?;
    std::fs::write(&output, page).map_err(|error| ScoreError::write(&output, error))?;
    let responses = counted(data.responses() as u64, "response");
    eprint_line(format_args!("wrote {}: {responses}", output.display()));
    Ok(0)
}
