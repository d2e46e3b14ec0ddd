//! What a server runs: its model, engine and score options. A run must not mix scores of different ones.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::wire::{Metadata, ModelEntry, ModelList};
use super::{ConnectError, EngineChanged, RewardClient, ScoreError};

/// Header of a response with the id of the engine's profile. Only Assay sends it.
const ENGINE_HEADER: &str = "x-assay-engine";
/// Header of a response with a digest of all that scores depend on. Only Assay sends it, once its engine is loaded.
const DIGEST_HEADER: &str = "x-assay-digest";

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

    /// Whether a server that has this identity now may give other scores than it gave with the identity `before`. A
    /// server whose engine is still loading sends no digest.
    fn differs(&self, before: &Self) -> bool {
        let differ = |now: &Option<String>, before: &Option<String>| {
            now.as_ref().zip(before.as_ref()).is_some_and(|(now, before)| now != before)
        };
        self.profile.is_some()
            && (self.model != before.model
                || self.profile != before.profile
                || differ(&self.digest, &before.digest))
    }

    /// Checks that a response is of the engine, and with the options, that the client connected to.
    ///
    /// # Errors
    /// [`EngineChanged`].
    pub(super) fn check_headers(&self, headers: &HeaderMap, url: &str) -> Result<(), ScoreError> {
        for (name, before) in [(ENGINE_HEADER, &self.profile), (DIGEST_HEADER, &self.digest)] {
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
    /// Asks the server what it runs as `model`, or as the first model that it lists.
    pub(super) async fn ask_identity(&self, model: Option<&str>) -> Result<ServerIdentity, ConnectError> {
        let failed = |source| ConnectError::Models { url: self.url.clone(), source };
        let request = self.authorized(self.http.get(format!("{}/v1/models", self.url)));
        let listed = request.send().await.and_then(reqwest::Response::error_for_status);
        let models: Result<ModelList, reqwest::Error> = match listed {
            Ok(response) => response.json().await,
            Err(error) => Err(error),
        };
        let listed = match (model, models) {
            (Some(name), Ok(models)) => models.data.into_iter().find(|model| model.id == name),
            (None, Ok(models)) => {
                let first = models.data.into_iter().next();
                Some(first.ok_or_else(|| ConnectError::NoModel(self.url.clone()))?)
            }
            // Not every server has this route.
            (Some(_), Err(error)) if error.is_status() => None,
            (_, Err(error)) => return Err(failed(error)),
        };
        // The server may know a name that it does not list.
        let is_listed = listed.is_some();
        let model = listed.unwrap_or_else(|| ModelEntry {
            id: model.unwrap_or_default().to_owned(),
            ..ModelEntry::default()
        });
        let request = self.authorized(self.http.get(format!("{}/v1/metadata", self.url)));
        let metadata = request.send().await.and_then(reqwest::Response::error_for_status);
        let (profile, digest) = match metadata {
            Ok(response) => {
                let digest = response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok());
                let digest = digest.map(str::to_owned);
                let metadata = response.json::<Metadata>().await.ok();
                (metadata.map(|found| found.selected_model_profile_id), digest)
            }
            Err(_) => (None, None),
        };
        Ok(ServerIdentity { model, is_listed, profile, digest })
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
            Ok(now) if now.differs(&self.identity) => {
                Err(ScoreError::Gone(EngineChanged { url: self.url.clone() }.into()))
            }
            _ => Ok(()),
        }
    }
}
