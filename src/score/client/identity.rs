//! What a server runs: its model, engine and score options. A run must not mix scores of different ones.

use reqwest::header::HeaderValue;
use serde_json::Value;

use super::wire::{Metadata, ModelEntry, ModelList};
use super::{ConnectError, EngineChanged, RewardClient, ScoreError};

/// Header of a response with the id of the engine's profile. Only Assay sends it.
pub(super) const ENGINE_HEADER: &str = "x-assay-engine";

/// What a server runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::score) struct ServerIdentity {
    model: ModelEntry,
    /// Id of the engine's profile; `None` if the server has none.
    profile: Option<String>,
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

    /// The identity in one line, for a journal.
    pub(in crate::score) fn line(&self) -> String {
        let profile = self.profile.as_deref().unwrap_or("unknown");
        let attributes = self.model.attributes.join(",");
        let variables = match &self.model.chat_template_kwargs {
            Value::Null => String::new(),
            given => format!(", its chat_template_kwargs {given}"),
        };
        format!("engine {profile}, scores {attributes}, options {}{variables}", self.model.score_options)
    }

    /// Checks that a response is of the engine that the client connected to.
    ///
    /// # Errors
    /// [`EngineChanged`].
    pub(super) fn check_header(&self, header: Option<&HeaderValue>, url: &str) -> Result<(), ScoreError> {
        match (header, &self.profile) {
            (Some(now), Some(before)) if now.as_bytes() != before.as_bytes() => {
                Err(ScoreError::Gone(EngineChanged { url: url.to_owned() }.into()))
            }
            _ => Ok(()),
        }
    }
}

impl RewardClient {
    /// Asks the server what it runs as `model`, or as the first model that it lists.
    pub(super) async fn ask_identity(&self, model: Option<&str>) -> Result<ServerIdentity, ConnectError> {
        let failed = |source| ConnectError::Models { url: self.url.clone(), source };
        let request = self.authorized(self.http.get(format!("{}/v1/models", self.url)));
        let listed = request.send().await.and_then(reqwest::Response::error_for_status);
        let models: Result<ModelList, reqwest::Error> = match listed {
            Ok(response) => response.json().await,
            Err(error) => Err(error),
        };
        let model = match (model, models) {
            // The server may know a name that it does not list.
            (Some(name), Ok(models)) => models
                .data
                .into_iter()
                .find(|model| model.id == name)
                .unwrap_or_else(|| ModelEntry { id: name.to_owned(), ..ModelEntry::default() }),
            (None, Ok(models)) => {
                models.data.into_iter().next().ok_or_else(|| ConnectError::NoModel(self.url.clone()))?
            }
            // Not every server has this route.
            (Some(name), Err(error)) if error.is_status() => {
                ModelEntry { id: name.to_owned(), ..ModelEntry::default() }
            }
            (_, Err(error)) => return Err(failed(error)),
        };
        let request = self.authorized(self.http.get(format!("{}/v1/metadata", self.url)));
        let metadata = request.send().await.and_then(reqwest::Response::error_for_status);
        let profile = match metadata {
            Ok(response) => {
                response.json::<Metadata>().await.ok().map(|found| found.selected_model_profile_id)
            }
            Err(_) => None,
        };
        Ok(ServerIdentity { model, profile })
    }

    /// Checks after a failure that the server still runs what it ran before.
    ///
    /// # Errors
    /// [`EngineChanged`].
    pub(super) async fn check_identity(&self) -> Result<(), ScoreError> {
        // Without a model the client has only just begun to connect. If the server does not answer, the next
        // attempt fails too and asks again.
        if self.model.is_empty() {
            return Ok(());
        }
        match self.ask_identity(Some(&self.model)).await {
            Ok(now) if now.profile.is_some() && now != self.identity => {
                Err(ScoreError::Gone(EngineChanged { url: self.url.clone() }.into()))
            }
            _ => Ok(()),
        }
    }
}
