//! What scores conversations: an engine in this process, or servers.

use std::sync::Arc;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::client::{RequestSettings, RewardClient};
use super::row_options::RowOptions;
use super::{ConversationScores, Row, ScoreError, ScoreResult, Unscored};
use crate::builder::Console;
use crate::cache::{ModelOptions, Prepared, prepare};
use crate::config::Settings;
use crate::manifest::judge::{FieldError, Layout, MOST_QUESTIONS, read_rubric};
use crate::manifest::score_options::WEIGHTED;
use crate::prompt::{EncodeOptions, Message, TemplateVariables};
use crate::reward::{Head, RankedBy};
use crate::serving::{
    LengthPolicy, LoadedModel, RubricError, Scheduling, Scorer, ServingError, load, served_names,
};
use crate::telemetry::Metrics;

/// Conversations that the engine has at once: enough to fill its batches several times over, and for the
/// responses to one prompt to meet there.
const IN_FLIGHT: usize = 512;

/// The column with the rubric of a row, as requests spell it.
pub(super) const RUBRIC: &str = "rubric";

/// Scores conversations. Cheap to clone.
#[derive(Clone)]
pub(super) struct ScoringBackend(Arc<Backend>);

enum Backend {
    Engine {
        scorer: Box<Scorer>,
        model: String,
        id: String,
        /// Whether the model has no scores, and each row brings a rubric.
        needs_rubrics: bool,
        in_flight: Semaphore,
        _prepared: Prepared,
    },
    Server(Box<RewardClient>),
}

/// The model has no scores, and the rows bring no rubrics.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} generates text and has no scores; ask it questions with --rubric FILE, or in a column `{RUBRIC}` of each row"
)]
struct NoRubrics(String);

/// The model has no scores.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} generates text and has no scores; give questions by --judge FILE, here to an engine or to the server when it is \
     started, or name a reward model"
)]
struct NoScores(String);

/// The names of scores are not known before they are read.
#[derive(Debug, thiserror::Error)]
#[error("an empty --prefix does not tell the scores of rows' own rubrics from other columns; give one")]
struct NoPrefix;

/// The engine cannot score.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} generates text and has no scores; ask it questions with --judge FILE, or name the engine of a reward model",
    _0.display()
)]
struct NotARewardModel(std::path::PathBuf);

/// An engine in this process.
pub(super) struct LoadedScorer {
    pub(super) scorer: Box<Scorer>,
    /// Whether the model has no scores, and is asked rubrics only.
    needs_rubrics: bool,
    /// The name of the model.
    model: String,
    /// The profile id of the engine, and whether it is simulated.
    id: String,
    prepared: Prepared,
}

/// Loads the model that `settings` name into this process; `command` is the command line up to it.
///
/// # Errors
/// [`ScoreError::Setup`].
pub(super) fn load_scorer(
    mut settings: Settings,
    build: &ModelOptions,
    command: &'static str,
) -> Result<LoadedScorer, ScoreError> {
    let engine = &settings.engine;
    let prepared = prepare(&engine.directory, build, &engine.limits(), command, &Console::default());
    let prepared = prepared.map_err(|error| ScoreError::Setup(error.into()))?;
    settings.engine.directory.clone_from(&prepared.directory);
    // Callers limit what waits. The limits of a server's queue would refuse the rest.
    // A judge's conversations are as many sequences as it has questions.
    let sequences = 2 * IN_FLIGHT * MOST_QUESTIONS;
    settings.scheduling.max_queue_requests = settings.scheduling.max_queue_requests.max(sequences);
    settings.scheduling.max_queue_tokens = usize::MAX;
    settings.server.timeout = None;
    let manifest = settings.choose_engine().map_err(|error| ScoreError::Setup(error.into()))?;
    let model = served_names(&settings.server.served_model_name, &manifest).swap_remove(0);
    let metrics =
        Metrics::new(&model, &manifest.profile.name).map_err(|error| ScoreError::Setup(error.into()))?;
    // A journal of simulated scores is never continued with real ones.
    let simulated = if settings.engine.simulate.is_some() { ", simulated" } else { "" };
    let id = format!("{}{simulated}", manifest.profile.id);
    let options = settings.load_options(&manifest).map_err(|error| ScoreError::Setup(error.into()))?;
    let loaded = load::load(&options, &manifest, Arc::new(metrics))
        .map_err(|error| ScoreError::Setup(error.into()))?;
    let (scorer, needs_rubrics) = match loaded {
        LoadedModel::Scorer(scorer) => (scorer, false),
        LoadedModel::Generator(generator) => (Box::new(generator.into_scorer()), true),
    };
    Ok(LoadedScorer { scorer, needs_rubrics, model, id, prepared })
}

impl LoadedScorer {
    /// Checks that the model has scores.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn check_has_scores(&self) -> Result<(), ScoreError> {
        if !self.needs_rubrics {
            return Ok(());
        }
        Err(ScoreError::Setup(NotARewardModel(self.prepared.directory.clone()).into()))
    }
}

impl ScoringBackend {
    /// Loads the model that `settings` name into this process; `command` is the command line up to it.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn load(
        settings: Settings,
        build: &ModelOptions,
        command: &'static str,
    ) -> Result<Self, ScoreError> {
        let LoadedScorer { scorer, needs_rubrics, model, id, prepared } =
            load_scorer(settings, build, command)?;
        let in_flight = Semaphore::new(IN_FLIGHT);
        let engine = Backend::Engine { scorer, model, id, needs_rubrics, in_flight, _prepared: prepared };
        Ok(Self(Arc::new(engine)))
    }

    /// Connects to the servers at `urls`, their roots or with `/v1`, and sends each up to `concurrency`
    /// conversations at once.
    ///
    /// # Errors
    /// [`ScoreError::Setup`] if none answers, they run different engines, or one serves no such model.
    pub(super) async fn connect(
        urls: &[String],
        settings: RequestSettings,
        key: Option<String>,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        let client = RewardClient::connect(urls, settings, key, concurrency).await?;
        Ok(Self(Arc::new(Backend::Server(Box::new(client)))))
    }

    /// Identifies the engine in a journal: the one in this process, or the one that servers run. Where that is not known,
    /// their addresses have to do.
    pub(super) fn identity(&self) -> String {
        match &*self.0 {
            Backend::Engine { id, scorer, .. } => {
                let options = scorer.score_options().map(serde_json::to_string);
                let options = options.and_then(Result::ok).unwrap_or_default();
                format!("engine {id}, options {options}{}", given(scorer.encoder().variables()))
            }
            Backend::Server(client) => {
                let identity = client.identity();
                let place = match identity.profile() {
                    Some(_) => String::new(),
                    None => format!(" at {}", client.urls().collect::<Vec<_>>().join(", ")),
                };
                format!("model {}{place}, {}{}", client.model, identity.line(), given(client.variables()))
            }
        }
    }

    /// What a language model is asked, for a journal; empty if that is up to the model.
    pub(super) fn questions(&self) -> String {
        if self.needs_rubrics() {
            return format!("column {RUBRIC}");
        }
        match &*self.0 {
            // What items weigh is among the options.
            Backend::Engine { scorer, .. } => scorer.head().judge().map_or_else(String::new, |judge| {
                json!({"judge": judge, "options": scorer.score_options()}).to_string()
            }),
            Backend::Server(client) => client.rubric().map(Value::to_string).unwrap_or_default(),
        }
    }

    /// Whether the model has no scores, so that each row must bring a rubric.
    pub(super) fn needs_rubrics(&self) -> bool {
        match &*self.0 {
            Backend::Engine { needs_rubrics, .. } => *needs_rubrics,
            Backend::Server(client) => client.needs_rubrics(),
        }
    }

    /// Checks that the model has scores of its own, or of a rubric that all rows share.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn check_has_scores(&self) -> Result<(), ScoreError> {
        if self.needs_rubrics() {
            Err(ScoreError::Setup(NoScores(self.model().to_owned()).into()))
        } else {
            Ok(())
        }
    }

    /// Checks that rows like `first` can be scored, and their scores found in columns that start with `prefix`.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn check_rows(&self, first: Option<&Row>, prefix: &str) -> Result<(), ScoreError> {
        if !self.needs_rubrics() {
            return Ok(());
        }
        if !first.is_some_and(|row| row.contains(RUBRIC)) {
            return Err(ScoreError::Setup(NoRubrics(self.model().to_owned()).into()));
        }
        if prefix.is_empty() { Err(ScoreError::Setup(NoPrefix.into())) } else { Ok(()) }
    }

    /// The profile id of the engine, if it is known.
    pub(super) fn engine_id(&self) -> Option<&str> {
        match &*self.0 {
            Backend::Engine { id, .. } => Some(id),
            Backend::Server(client) => client.identity().profile(),
        }
    }

    /// The score that ranks responses by default: the rule of `/v1/rewards`. `None` for a server that does not
    /// say; then it is the first.
    pub(super) fn ranked_by(&self) -> Option<String> {
        if self.needs_rubrics() {
            return Some(WEIGHTED.to_owned());
        }
        match &*self.0 {
            Backend::Engine { scorer, .. } => Some(scorer.head().single_name()),
            Backend::Server(client) => client.ranked_by(),
        }
    }

    /// Names of the scores that every conversation has, as far as they are known; none if the model scores steps.
    pub(super) fn attributes(&self) -> Vec<String> {
        match &*self.0 {
            Backend::Engine { scorer, .. } => scorer.head().names().into_iter().map(str::to_owned).collect(),
            Backend::Server(client) => client.attributes(),
        }
    }

    /// Every name that responses can be ranked by; empty if that is not known before the first answer.
    pub(super) fn ranking_names(&self) -> Vec<String> {
        match &*self.0 {
            Backend::Engine { scorer, .. } => scorer.head().ranking_names(),
            Backend::Server(client) => match (client.identity().step_token(), self.ranked_by()) {
                (Some(_), Some(summary)) => {
                    RankedBy::parse(&summary).step().map(RankedBy::summaries).unwrap_or_default()
                }
                _ => client.attributes(),
            },
        }
    }

    /// The token that must follow each step, if the model scores steps.
    pub(super) fn step_token(&self) -> Option<&str> {
        match &*self.0 {
            Backend::Engine { scorer, .. } => scorer.head().step_token(),
            Backend::Server(client) => client.identity().step_token(),
        }
    }

    /// Name of the model.
    pub(super) fn model(&self) -> &str {
        match &*self.0 {
            Backend::Engine { model, .. } => model,
            Backend::Server(client) => &client.model,
        }
    }

    /// How many engines score at the same time.
    pub(super) fn engines(&self) -> usize {
        match &*self.0 {
            Backend::Engine { .. } => 1,
            Backend::Server(client) => client.urls().count(),
        }
    }

    /// Scores the conversations of one row, in their order, by the row's own rubric if it has one. What they share is
    /// computed once. The row's variables for the chat template go before those of the run.
    ///
    /// # Errors
    /// [`ScoreError::Gone`].
    pub(super) async fn score(
        &self,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let (scorer, in_flight) = match &*self.0 {
            Backend::Engine { scorer, in_flight, .. } => (scorer, in_flight),
            Backend::Server(client) => return client.score(conversations, row).await,
        };
        let rubric = match row.rubric.map(|rubric| rubric_head(scorer, rubric)).transpose() {
            Ok(rubric) => rubric,
            Err(reason) => return Ok(vec![Err(Unscored::Refused(reason)); conversations.len()]),
        };
        let options = EncodeOptions { variables: Some(row.variables), ..EncodeOptions::default() };
        let score = |turns| score_in_process(scorer, in_flight, turns, options, rubric.as_ref());
        try_join_all(conversations.iter().map(|turns| score(turns))).await
    }
}

/// The chat template's variables, for a journal; nothing if there are none.
fn given(variables: &TemplateVariables) -> String {
    if variables.is_empty() {
        String::new()
    } else {
        format!(", chat_template_kwargs {}", variables.to_json())
    }
}

/// The head of a row's rubric, or what is wrong with that.
fn rubric_head(scorer: &Scorer, rubric: &Value) -> Result<Arc<Head>, String> {
    let items = read_rubric(RUBRIC, rubric.clone()).map_err(|error| error.to_string())?;
    scorer.rubric(items, Layout::default()).map_err(|error| match error {
        RubricError::Item { index, source } => {
            FieldError::of_question(&format!("{RUBRIC}[{index}]"), &source).to_string()
        }
        error => format!("`{RUBRIC}` {error}"),
    })
}

async fn score_in_process(
    scorer: &Scorer,
    in_flight: &Semaphore,
    messages: &[Message],
    options: EncodeOptions<'_>,
    rubric: Option<&Arc<Head>>,
) -> Result<ScoreResult, ScoreError> {
    let _permit = in_flight.acquire().await.map_err(|error| ScoreError::Gone(error.into()))?;
    match score(scorer, messages, options, rubric).await {
        Ok(scores) => Ok(Ok(scores)),
        Err(error) if error.is_items_own() => Ok(Err(Unscored::Refused(error.to_string()))),
        Err(error) => Err(ScoreError::Gone(error.into())),
    }
}

async fn score(
    scorer: &Scorer,
    messages: &[Message],
    options: EncodeOptions<'_>,
    rubric: Option<&Arc<Head>>,
) -> Result<ConversationScores, ServingError> {
    let prompt = match rubric {
        Some(rubric) => scorer.encode_rubric(messages, options, rubric)?,
        None => scorer.encode_with(messages, options, LengthPolicy::default())?,
    };
    let scored = scorer.score(prompt, Scheduling::now()).await?;
    let scores = scored.scores.values().map(|(attribute, score)| (attribute.to_owned(), score)).collect();
    Ok(ConversationScores { scores, tokens: scored.prompt_tokens })
}
