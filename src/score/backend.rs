//! What scores conversations: an engine in this process, or a server.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::client::RewardClient;
use super::{ConversationScores, ScoreError, ScoreResult, Unscored};
use crate::builder::Console;
use crate::cache::{ModelOptions, Prepared, prepare};
use crate::config::Settings;
use crate::manifest::judge::MOST_QUESTIONS;
use crate::prompt::{Message, TemplateVariables};
use crate::reward::RankedBy;
use crate::serving::{LengthPolicy, LoadedModel, Scheduling, Scorer, ServingError, load, served_names};
use crate::telemetry::Metrics;

/// Conversations that the engine has at once: enough to fill its batches several times over, and for the
/// responses to one prompt to meet there.
const IN_FLIGHT: usize = 512;

/// Scores conversations. Cheap to clone.
#[derive(Clone)]
pub(super) struct ScoringBackend(Arc<Backend>);

enum Backend {
    Engine { scorer: Box<Scorer>, model: String, id: String, in_flight: Semaphore, _prepared: Prepared },
    Server(Box<RewardClient>),
}

/// The engine cannot score.
#[derive(Debug, thiserror::Error)]
#[error("{} generates text and has no scores; name the engine of a reward model", _0.display())]
struct NotARewardModel(std::path::PathBuf);

/// An engine in this process.
pub(super) struct LoadedScorer {
    pub(super) scorer: Box<Scorer>,
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
    match loaded {
        LoadedModel::Scorer(scorer) => Ok(LoadedScorer { scorer, model, id, prepared }),
        _ => Err(ScoreError::Setup(NotARewardModel(settings.engine.directory).into())),
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
        let LoadedScorer { scorer, model, id, prepared } = load_scorer(settings, build, command)?;
        let in_flight = Semaphore::new(IN_FLIGHT);
        Ok(Self(Arc::new(Backend::Engine { scorer, model, id, in_flight, _prepared: prepared })))
    }

    /// Connects to the server at `url`, its root or with `/v1`, and sends it up to `concurrency`
    /// conversations at once.
    ///
    /// # Errors
    /// [`ScoreError::Setup`] if it does not answer, or serves no such model.
    pub(super) async fn connect(
        url: &str,
        model: Option<String>,
        key: Option<String>,
        variables: TemplateVariables,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        let client = RewardClient::connect(url, model, key, variables, concurrency).await?;
        Ok(Self(Arc::new(Backend::Server(Box::new(client)))))
    }

    /// Identifies the engine, or the server and its model, in a journal.
    pub(super) fn identity(&self) -> String {
        match &*self.0 {
            Backend::Engine { id, scorer, .. } => {
                let options = scorer.score_options().map(serde_json::to_string);
                let options = options.and_then(Result::ok).unwrap_or_default();
                let judge = scorer.head().judge().map(serde_json::to_string).and_then(Result::ok);
                let judge = judge.map_or_else(String::new, |judge| format!(", judge {judge}"));
                format!("engine {id}, options {options}{}{judge}", given(scorer.encoder().variables()))
            }
            Backend::Server(client) => {
                let identity = client.identity().line();
                format!("model {} at {}, {identity}{}", client.model, client.url, given(client.variables()))
            }
        }
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
        match &*self.0 {
            Backend::Engine { scorer, .. } => Some(scorer.head().single_name()),
            Backend::Server(client) => client.identity().ranked_by().map(str::to_owned),
        }
    }

    /// Names of the scores that every conversation has, as far as they are known; none if the model scores steps.
    pub(super) fn attributes(&self) -> Vec<String> {
        match &*self.0 {
            Backend::Engine { scorer, .. } => scorer.head().names().into_iter().map(str::to_owned).collect(),
            Backend::Server(client) => client.identity().attributes().to_vec(),
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
                _ => client.identity().attributes().to_vec(),
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

    /// Scores the conversations of one row, in their order. What they share is computed once.
    ///
    /// # Errors
    /// [`ScoreError::Gone`].
    pub(super) async fn score(&self, conversations: &[Vec<Message>]) -> Result<Vec<ScoreResult>, ScoreError> {
        match &*self.0 {
            Backend::Engine { scorer, in_flight, .. } => {
                let scores = conversations.iter().map(|turns| score_in_process(scorer, in_flight, turns));
                try_join_all(scores).await
            }
            Backend::Server(client) => client.score(conversations).await,
        }
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

async fn score_in_process(
    scorer: &Scorer,
    in_flight: &Semaphore,
    messages: &[Message],
) -> Result<ScoreResult, ScoreError> {
    let _permit = in_flight.acquire().await.map_err(|error| ScoreError::Gone(error.into()))?;
    match score(scorer, messages).await {
        Ok(scores) => Ok(Ok(scores)),
        Err(error) if error.is_items_own() => Ok(Err(Unscored::Refused(error.to_string()))),
        Err(error) => Err(ScoreError::Gone(error.into())),
    }
}

async fn score(scorer: &Scorer, messages: &[Message]) -> Result<ConversationScores, ServingError> {
    let prompt = scorer.encode(messages, LengthPolicy::default())?;
    let scored = scorer.score(prompt, Scheduling::now()).await?;
    let scores = scored.scores.values().map(|(attribute, score)| (attribute.to_owned(), score)).collect();
    Ok(ConversationScores { scores, tokens: scored.prompt_tokens })
}
