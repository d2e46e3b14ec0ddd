//! What scores conversations: an engine in this process, or a server.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::client::Server;
use super::{Judged, ScoreError, Verdict};
use crate::config::Settings;
use crate::prompt::Message;
use crate::serving::{LengthPolicy, LoadedModel, Scheduling, Scorer, ServingError, load, served_names};
use crate::telemetry::Metrics;

/// Conversations that are with the engine at once: enough to fill its batches several times over, and to
/// have the responses to one prompt meet there.
const IN_FLIGHT: usize = 512;

/// Scores conversations. Cheap to clone.
#[derive(Clone)]
pub struct Judge(Arc<Kind>);

enum Kind {
    Engine { scorer: Box<Scorer>, model: String, id: String, in_flight: Semaphore },
    Server(Server),
}

impl Judge {
    /// The engine that `settings` name, in this process.
    ///
    /// # Errors
    /// It does not load; the text says why.
    pub fn engine(mut settings: Settings) -> Result<Self, ScoreError> {
        // What waits is bounded here; the queue of a server would refuse what does not fit.
        settings.scheduling.max_queue_requests = settings.scheduling.max_queue_requests.max(2 * IN_FLIGHT);
        settings.scheduling.max_queue_tokens = usize::MAX;
        settings.server.timeout = None;
        let unable = |error: &dyn std::fmt::Display| ScoreError::Option(error.to_string());
        let manifest = load::choose(&mut settings).map_err(|error| unable(&error))?;
        let model = served_names(&settings, &manifest).swap_remove(0);
        let metrics = Metrics::new(&model, &manifest.profile.name).map_err(|error| unable(&error))?;
        let loaded = load::load(&settings, &manifest, Arc::new(metrics)).map_err(|error| unable(&error))?;
        let LoadedModel::Scorer(scorer) = loaded else {
            return Err(ScoreError::Option(format!(
                "{} generates text and has no scores; name the engine of a reward model",
                settings.engine.directory.display()
            )));
        };
        let (id, in_flight) = (manifest.profile.id, Semaphore::new(IN_FLIGHT));
        Ok(Self(Arc::new(Kind::Engine { scorer, model, id, in_flight })))
    }

    /// The server at `url` (its root, or with `/v1`), with up to `concurrency` conversations at once.
    ///
    /// # Errors
    /// It does not answer, or serves no such model.
    pub async fn server(
        url: &str,
        model: Option<String>,
        key: Option<String>,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        Ok(Self(Arc::new(Kind::Server(Server::open(url, model, key, concurrency).await?))))
    }

    /// Tells scores of this engine or model from those of another.
    pub fn identity(&self) -> String {
        match &*self.0 {
            Kind::Engine { id, .. } => format!("engine {id}"),
            Kind::Server(server) => format!("model {} at {}", server.model, server.url),
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        match &*self.0 {
            Kind::Engine { model, .. } => model,
            Kind::Server(server) => &server.model,
        }
    }

    /// Scores the conversations of one row, in their order: what they share is computed once.
    ///
    /// # Errors
    /// [`ScoreError::Gone`]: nothing can be scored any more.
    pub async fn judge(&self, conversations: &[Vec<Message>]) -> Result<Vec<Verdict>, ScoreError> {
        match &*self.0 {
            Kind::Engine { scorer, in_flight, .. } => {
                try_join_all(conversations.iter().map(|messages| in_process(scorer, in_flight, messages)))
                    .await
            }
            Kind::Server(server) => server.judge(conversations).await,
        }
    }
}

async fn in_process(
    scorer: &Scorer,
    in_flight: &Semaphore,
    messages: &[Message],
) -> Result<Verdict, ScoreError> {
    let _place = in_flight.acquire().await.map_err(|error| ScoreError::Gone(error.to_string()))?;
    match score(scorer, messages).await {
        Ok(judged) => Ok(Ok(judged)),
        Err(error) if error.is_items_own() => Ok(Err(error.to_string())),
        Err(error) => Err(ScoreError::Gone(error.to_string())),
    }
}

async fn score(scorer: &Scorer, messages: &[Message]) -> Result<Judged, ServingError> {
    let prompt = scorer.encode(messages, LengthPolicy::default())?;
    let scored = scorer.score(prompt, Scheduling::now()).await?;
    let scores = scored.scores.values().map(|(attribute, score)| (attribute.to_owned(), score)).collect();
    Ok(Judged { scores, tokens: scored.prompt_tokens })
}
