//! Headers that name the engine that gave a response.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::manifest::digest::hexadecimal;
use crate::serving::{LoadedModel, Scorer};

/// The engine's profile id, by which a client notices that the server came back with another engine.
const ENGINE: HeaderName = HeaderName::from_static("x-assay-engine");
/// [`EngineHeaders::digest`].
const DIGEST: HeaderName = HeaderName::from_static("x-assay-digest");

/// What the headers of every response say of the engine.
pub(super) struct EngineHeaders {
    profile: HeaderValue,
    /// SHA-256 over everything that scores depend on: the profile id, which itself is a digest of the manifest and so of
    /// every file of the engine, and the options with which it is served.
    digest: HeaderValue,
}

impl EngineHeaders {
    /// The headers of a loaded model; `None` if the manifest's profile id cannot be one.
    pub(super) fn new(manifest: &Manifest, model: &LoadedModel, simulated: bool) -> Option<Self> {
        let (options, judge) = match model {
            LoadedModel::Scorer(scorer) => (Scorer::score_options(scorer), scorer.head().judge()),
            LoadedModel::Generator(_) => (None, None),
        };
        let identity = json!({
            "profile": manifest.profile.id,
            "score_options": options,
            "judge": judge,
            "chat_template_kwargs": model.encoder().variables().to_json(),
            "simulated": simulated,
        });
        let digest = hexadecimal(&Sha256::digest(identity.to_string()));
        let header = |text: &str| HeaderValue::from_str(text).ok();
        Some(Self { profile: header(&manifest.profile.id)?, digest: header(&digest)? })
    }

    /// Adds them to those of a response.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(ENGINE, self.profile.clone());
        headers.insert(DIGEST, self.digest.clone());
    }
}
