//! An engine in this process, as what scores conversations.

use std::slice;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::criteria::RUBRIC;
use super::row_options::RowOptions;
use super::score_source::{NO_PRINCIPLES, ScoreSource, variables_in_journal};
use super::token_warning::TokenWarning;
use super::{ConversationScores, ScoreError, ScoreResult, Unscored};
use crate::builder::Console;
use crate::cache::{ModelOptions, Prepared, prepare};
use crate::config::Settings;
use crate::manifest::EngineIdentity;
use crate::manifest::judge::{FieldError, MAX_QUESTIONS, QuestionLayout, read_rubric};
use crate::manifest::score_options::WEIGHTED;
use crate::prompt::{EncodeOptions, Message};
use crate::reward::Head;
use crate::serving::{
    LengthPolicy, LoadedModel, RubricError, Scheduling, Scorer, ServingError, load, served_names,
};
use crate::telemetry::Metrics;

/// Conversations that the engine has at once: enough to fill its batches several times over, and for the
/// responses to one prompt to meet there.
const IN_FLIGHT: usize = 512;

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
    identity: EngineIdentity,
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
    let sequences = 2 * IN_FLIGHT * MAX_QUESTIONS;
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
    let identity = loaded.identity(&manifest, settings.engine.simulate.is_some());
    let (scorer, needs_rubrics) = match loaded {
        LoadedModel::Scorer(scorer) => (scorer, false),
        LoadedModel::Generator(generator) => (Box::new(generator.into_scorer()), true),
    };
    Ok(LoadedScorer { scorer, needs_rubrics, model, id, identity, prepared })
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

/// An engine in this process that scores the rows of a run.
pub(super) struct InProcess {
    engine: LoadedScorer,
    in_flight: Semaphore,
    token_warning: TokenWarning,
}

impl InProcess {
    /// Loads the model that `settings` name into this process; `command` is the command line up to it.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn load(
        settings: Settings,
        build: &ModelOptions,
        command: &'static str,
    ) -> Result<Self, ScoreError> {
        let engine = load_scorer(settings, build, command)?;
        let in_flight = Semaphore::new(IN_FLIGHT);
        Ok(Self { engine, in_flight, token_warning: TokenWarning::default() })
    }

    fn head(&self) -> &Head {
        self.engine.scorer.head()
    }

    async fn score_row(
        &self,
        conversations: &[Vec<Message>],
        row: RowOptions<'_>,
    ) -> Result<Vec<ScoreResult>, ScoreError> {
        let scorer = &*self.engine.scorer;
        self.token_warning.check(scorer.encoder(), conversations);
        let rubric = match row.rubric.map(|rubric| rubric_head(scorer, rubric)).transpose() {
            Ok(rubric) => rubric,
            Err(reason) => return Ok(vec![Err(Unscored::Refused(reason)); conversations.len()]),
        };
        let options = EncodeOptions { variables: Some(row.variables), ..EncodeOptions::default() };
        let score = |turns| score_in_process(scorer, &self.in_flight, turns, options, rubric.as_ref());
        let Some(principle) = row.principle.map(Message::principle) else {
            return try_join_all(conversations.iter().map(|turns| score(turns))).await;
        };
        let with_principle = |turns: &Vec<Message>| [turns.as_slice(), slice::from_ref(&principle)].concat();
        let conversations: Vec<Vec<Message>> = conversations.iter().map(with_principle).collect();
        try_join_all(conversations.iter().map(|turns| score(turns))).await
    }
}

impl ScoreSource for InProcess {
    fn model(&self) -> &str {
        &self.engine.model
    }

    fn identity(&self) -> String {
        let LoadedScorer { scorer, id, .. } = &self.engine;
        let options = scorer.score_options().map(serde_json::to_string);
        let options = options.and_then(Result::ok).unwrap_or_default();
        format!("engine {id}, options {options}{}", variables_in_journal(scorer.encoder().variables()))
    }

    fn engine_id(&self) -> Option<&str> {
        Some(&self.engine.id)
    }

    fn engine_identity(&self) -> Result<EngineIdentity, &'static str> {
        Ok(self.engine.identity.clone())
    }

    fn engines(&self) -> usize {
        1
    }

    fn needs_rubrics(&self) -> bool {
        self.engine.needs_rubrics
    }

    fn refuses_principles(&self) -> Option<&'static str> {
        let is_trained = self.head().judge().is_none() && self.engine.scorer.encoder().takes_principles();
        if is_trained { None } else { Some(NO_PRINCIPLES) }
    }

    fn questions(&self) -> String {
        // What items weigh is among the options.
        self.head().judge().map_or_else(String::new, |judge| {
            json!({"judge": judge, "options": self.engine.scorer.score_options()}).to_string()
        })
    }

    fn attributes(&self) -> Vec<String> {
        self.head().names().into_iter().map(str::to_owned).collect()
    }

    fn ranked_by(&self) -> Option<String> {
        Some(if self.needs_rubrics() { WEIGHTED.to_owned() } else { self.head().single_name() })
    }

    fn ranking_names(&self) -> Vec<String> {
        self.head().ranking_names()
    }

    fn step_token(&self) -> Option<&str> {
        self.head().step_token()
    }

    fn score<'a>(
        &'a self,
        conversations: &'a [Vec<Message>],
        row: RowOptions<'a>,
    ) -> BoxFuture<'a, Result<Vec<ScoreResult>, ScoreError>> {
        self.score_row(conversations, row).boxed()
    }
}

/// The head of a row's rubric, or what is wrong with that.
fn rubric_head(scorer: &Scorer, rubric: &Value) -> Result<Arc<Head>, String> {
    let items = read_rubric(RUBRIC, rubric.clone()).map_err(|error| error.to_string())?;
    scorer.rubric(items, QuestionLayout::default()).map_err(|error| match error {
        RubricError::Item { index, source } => {
            FieldError::from_question(&format!("{RUBRIC}[{index}]"), &source).to_string()
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
