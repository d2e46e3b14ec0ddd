//! What a server runs: its model, engine and score options. A run must not mix scores of different ones.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::error::{BodyError, ConnectError, Redirect, read_body};
use super::server::Server;
use super::wire::{Metadata, ModelEntry, ModelList};
use super::{RewardClient, ScoreError};
use crate::manifest::EngineIdentity;
use crate::signing::{DIGEST, ENGINE};

/// The server came back with something else.
#[derive(Debug, thiserror::Error)]
#[error(
    "{url} now runs another engine, or the same with other score options, than it did for the rows that are scored \
     already; start it again as it was to continue, or delete the .partial file to start over"
)]
struct EngineChanged {
    url: String,
}

/// What a server runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::score) struct ServerIdentity {
    model: ModelEntry,
    /// Whether the server lists the model, so that it says what scores it has.
    is_listed: bool,
    /// Id of the engine's profile; `None` if the server has none.
    profile: Option<String>,
    /// Digest of all that scores depend on; `None` if the server sends none.
    digest: Option<String>,
}

impl ServerIdentity {
    /// Name of the model.
    pub(super) fn name(&self) -> &str {
        &self.model.id
    }

    /// Id of the engine's profile; `None` if the server has none.
    pub(in crate::score) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// What the scores come from; `None` if the server does not say.
    pub(super) fn engine(&self) -> Option<EngineIdentity> {
        let (profile, digest) = self.profile.clone().zip(self.digest.clone())?;
        Some(EngineIdentity { profile, digest })
    }

    /// Names of the scores that every conversation has; empty if they are not known.
    pub(in crate::score) fn attributes(&self) -> &[String] {
        &self.model.attributes
    }

    /// The score that ranks responses; `None` if the server does not say.
    pub(in crate::score) fn ranked_by(&self) -> Option<&str> {
        self.model.ranked_by.as_deref()
    }

    /// The token that follows each step, if the model scores steps.
    pub(in crate::score) fn step_token(&self) -> Option<&str> {
        self.model.step_token.as_deref()
    }

    /// Whether the model is one of an Assay server that generates text and has no scores. While the engine is loading,
    /// that is not known.
    pub(super) fn generates(&self) -> bool {
        self.is_listed
            && self.digest.is_some()
            && self.model.attributes.is_empty()
            && self.model.step_token.is_none()
    }

    /// The identity in one line, for a journal.
    pub(in crate::score) fn line(&self) -> String {
        let profile = self.profile.as_deref().unwrap_or("unknown");
        let attributes = self.model.attributes.join(",");
        let variables = match &self.model.chat_template_kwargs {
            Value::Null => String::new(),
            given => format!(", its chat_template_kwargs {given}"),
        };
        let digest = self.digest.as_deref().map_or_else(String::new, |digest| format!(", digest {digest}"));
        format!(
            "engine {profile}, scores {attributes}, options {}{variables}{digest}",
            self.model.score_options
        )
    }

    /// The model and the identity, for a message.
    pub(super) fn summary(&self) -> String {
        format!("model {}, {}", self.model.id, self.line())
    }

    /// Whether two servers may give different scores, as far as they say what they run. One whose engine is still
    /// loading sends no digest.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let digests = self.digest.as_ref().zip(other.digest.as_ref());
        self.model != other.model
            || self.profile != other.profile
            || digests.is_some_and(|(one, other)| one != other)
    }

    /// Takes the digest of another server of the same engine, if this one has sent none.
    pub(super) fn complete_from(&mut self, other: &Self) {
        if self.digest.is_none() {
            self.digest.clone_from(&other.digest);
        }
    }

    /// Checks that a response is of the engine, and with the options, that the client connected to.
    ///
    /// # Errors
    /// [`EngineChanged`].
    pub(super) fn check_headers(&self, headers: &HeaderMap, url: &str) -> Result<(), ScoreError> {
        for (name, before) in [(ENGINE, &self.profile), (DIGEST, &self.digest)] {
            if let (Some(now), Some(before)) = (headers.get(name), before)
                && now.as_bytes() != before.as_bytes()
            {
                return Err(ScoreError::Gone(EngineChanged { url: url.to_owned() }.into()));
            }
        }
        Ok(())
    }
}

impl RewardClient {
    /// Asks a server what it runs as `model`, or as the first model that it lists.
    pub(super) async fn ask_identity(
        &self,
        server: &Server,
        model: Option<&str>,
    ) -> Result<ServerIdentity, ConnectError> {
        let url = &server.url;
        let failed = |source| ConnectError::Models { url: url.clone(), source };
        let unanswered = |source| ConnectError::Metadata { url: url.clone(), source };
        let ask = |route| self.authorized(self.http.get(format!("{url}{route}"))).timeout(self.silence);
        let listed = ask("/v1/models").send().await.and_then(reqwest::Response::error_for_status);
        if let Err(error) = &listed
            && let Some(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) = error.status()
        {
            let url = url.clone();
            return Err(match &self.key {
                Some(_) => ConnectError::Key { url, status },
                None => ConnectError::NoKey { url, status },
            });
        }
        if let Some(redirect) = listed.as_ref().ok().and_then(Redirect::from_response) {
            return Err(ConnectError::Redirects { url: url.clone(), redirect });
        }
        let models: Result<ModelList, reqwest::Error> = match listed {
            Ok(response) => {
                let not_models = |reason: String| ConnectError::NotModels { url: url.clone(), reason };
                let listed = read_body(response).await.map_err(|error| not_models(error.to_string()))?;
                Ok(serde_json::from_slice(&listed).map_err(|error| not_models(error.to_string()))?)
            }
            Err(error) => Err(error),
        };
        let listed = match (model, models) {
            (Some(name), Ok(models)) => models.data.into_iter().find(|model| model.id == name),
            (None, Ok(models)) => {
                let first = models.data.into_iter().next();
                Some(first.ok_or_else(|| ConnectError::NoModel(url.clone()))?)
            }
            // Not every server has this route. One that is starting has it later.
            (Some(_), Err(error)) if error.status().is_some_and(|status| status.is_client_error()) => None,
            (_, Err(error)) => return Err(failed(error)),
        };
        // The server may know a name that it does not list.
        let is_listed = listed.is_some();
        let model = listed.unwrap_or_else(|| ModelEntry {
            id: model.unwrap_or_default().to_owned(),
            ..ModelEntry::default()
        });
        let mut metadata = ask("/v1/metadata").send().await;
        if metadata.as_ref().is_err_and(|error| !error.is_timeout()) {
            metadata = ask("/v1/metadata").send().await;
        }
        let metadata = metadata.and_then(reqwest::Response::error_for_status);
        let (profile, digest) = match metadata {
            Ok(response) => {
                let digest = response.headers().get(DIGEST).and_then(|value| value.to_str().ok());
                let digest = digest.map(str::to_owned);
                let body = match read_body(response).await {
                    Ok(body) => body,
                    Err(BodyError::BrokenOff(error)) => return Err(unanswered(error)),
                    Err(BodyError::TooLarge) => Vec::new(),
                };
                let metadata = serde_json::from_slice::<Metadata>(&body).ok();
                (metadata.map(|found| found.selected_model_profile_id), digest)
            }
            // Other servers than Assay have no such route. Without an answer it is not known what this one runs.
            Err(error) if error.is_status() => (None, None),
            Err(error) => return Err(unanswered(error)),
        };
        Ok(ServerIdentity { model, is_listed, profile, digest })
    }

    /// Checks that a server that failed still runs what it ran before. Returns whether it answers in time.
    ///
    /// # Errors
    /// [`EngineChanged`].
    pub(super) async fn check_identity(&self, server: &Server) -> Result<bool, ScoreError> {
        // Without a model the client has only just begun to connect.
        if self.model.is_empty() {
            return Ok(true);
        }
        match self.ask_identity(server, Some(&self.model)).await {
            Ok(now) if now.profile.is_some() && now.differs(&self.identity) => {
                Err(ScoreError::Gone(EngineChanged { url: server.url.clone() }.into()))
            }
            // If the server refuses to say, the next attempt fails too and asks again.
            Err(ConnectError::Models { source, .. } | ConnectError::Metadata { source, .. }) => {
                Ok(!source.is_timeout())
            }
            _ => Ok(true),
        }
    }

    /// Whether a server answers anything in time, be it an error.
    pub(super) async fn answers_at_all(&self, server: &Server) -> bool {
        let models = self.authorized(self.http.get(format!("{}/v1/models", server.url)));
        models.timeout(self.silence).send().await.is_ok()
    }
}
