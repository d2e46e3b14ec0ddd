//! What scores conversations: an engine in this process, or a server.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::client::Server;
use super::{Judged, ScoreError, Verdict};
use crate::api::{ApiError, App, Cut, Urgency, load, serve};
use crate::config::Settings;
use crate::prompt::Message;
use crate::reward::RewardError;
use crate::scheduler::{Priority, Rejection};

/// Conversations that are with the engine at once: enough to fill its batches several times over, and to
/// have the responses to one prompt meet there.
const IN_FLIGHT: usize = 512;

/// Scores conversations. Cheap to clone.
#[derive(Clone)]
pub struct Judge(Arc<Kind>);

enum Kind {
    Engine { app: Box<App>, id: String, in_flight: Semaphore },
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
        let manifest = serve::choose(&mut settings).map_err(|error| unable(&error))?;
        let app = App::new(settings, &manifest).map_err(|error| unable(&error))?;
        load::load(&app, &manifest).map_err(|error| unable(&error))?;
        let (app, id, in_flight) = (Box::new(app), manifest.profile.id, Semaphore::new(IN_FLIGHT));
        Ok(Self(Arc::new(Kind::Engine { app, id, in_flight })))
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
            Kind::Engine { app, .. } => &app.models[0],
            Kind::Server(server) => &server.model,
        }
    }

    /// Scores the conversations of one row, in their order: what they share is computed once.
    ///
    /// # Errors
    /// [`ScoreError::Gone`]: nothing can be scored any more.
    pub async fn judge(&self, conversations: &[Vec<Message>]) -> Result<Vec<Verdict>, ScoreError> {
        match &*self.0 {
            Kind::Engine { app, in_flight, .. } => {
                try_join_all(conversations.iter().map(|messages| in_process(app, in_flight, messages))).await
            }
            Kind::Server(server) => server.judge(conversations).await,
        }
    }
}

async fn in_process(app: &App, in_flight: &Semaphore, messages: &[Message]) -> Result<Verdict, ScoreError> {
    let _place = in_flight.acquire().await.map_err(|error| ScoreError::Gone(error.to_string()))?;
    match score(app, messages).await {
        Ok(judged) => Ok(Ok(judged)),
        Err(error) if is_its_own(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(ScoreError::Gone(error.to_string())),
    }
}

async fn score(app: &App, messages: &[Message]) -> Result<Judged, ApiError> {
    let scorer = app.scorer()?;
    let urgency = Urgency { arrived: Instant::now(), priority: Priority::default(), timeout: None };
    let scored = scorer.score(scorer.encode(messages, Cut::default())?, urgency).await?;
    let scores = scored.scores.values().map(|(attribute, score)| (attribute.to_owned(), score)).collect();
    Ok(Judged { scores, tokens: scored.prompt_tokens })
}

/// Whether a failure is the conversation's own.
fn is_its_own(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Prompt(_)
            | ApiError::Unscorable(_)
            | ApiError::Reward(RewardError::NotFinite { .. })
            | ApiError::Rejected(Rejection::Empty | Rejection::TooLong { .. }, _)
    )
}
