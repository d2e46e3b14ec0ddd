//! Names the engine that gave an answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::api::app::App;
use crate::manifest::Manifest;
use crate::serving::{LoadedModel, Scorer};

/// The engine's profile id, by which a client notices that the server came back with another engine.
const ENGINE: HeaderName = HeaderName::from_static("x-assay-engine");
/// [`EngineHeaders::digest`].
const DIGEST: HeaderName = HeaderName::from_static("x-assay-digest");

/// What the headers of every answer say of the engine.
pub(in crate::api) struct EngineHeaders {
    profile: HeaderValue,
    /// SHA-256 over everything that scores depend on: the profile id, which itself is a digest of the manifest and so of
    /// every file of the engine, and the options with which it is served.
    digest: HeaderValue,
}

impl EngineHeaders {
    /// The headers of a loaded model; `None` if the manifest's profile id cannot be one.
    pub(in crate::api) fn new(manifest: &Manifest, model: &LoadedModel, simulated: bool) -> Option<Self> {
        let options = match model {
            LoadedModel::Scorer(scorer) => Scorer::score_options(scorer),
            LoadedModel::Generator(_) => None,
        };
        let identity = json!({
            "profile": manifest.profile.id,
            "score_options": options,
            "chat_template_kwargs": model.encoder().variables().to_json(),
            "simulated": simulated,
        });
        let digest: String =
            Sha256::digest(identity.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
        let header = |text: &str| HeaderValue::from_str(text).ok();
        Some(Self { profile: header(&manifest.profile.id)?, digest: header(&digest)? })
    }
}

/// Adds the headers to the answer, once the engine is loaded.
pub(in crate::api) async fn name_engine(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Some(engine) = app.engine_headers() {
        response.headers_mut().insert(ENGINE, engine.profile.clone());
        response.headers_mut().insert(DIGEST, engine.digest.clone());
    }
    response
}
