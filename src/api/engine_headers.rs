//! Headers that name the engine that gave a response.

use axum::http::{HeaderMap, HeaderValue};

use crate::manifest::EngineIdentity;
use crate::signing::{DIGEST, ENGINE};

/// What the headers of every response say of the engine.
pub(super) struct EngineHeaders {
    profile: HeaderValue,
    digest: HeaderValue,
}

impl EngineHeaders {
    /// The headers of a loaded model; `None` if the manifest's profile id cannot be one.
    pub(super) fn new(engine: &EngineIdentity) -> Option<Self> {
        let header = |text: &str| HeaderValue::from_str(text).ok();
        Some(Self { profile: header(&engine.profile)?, digest: header(&engine.digest)? })
    }

    /// Adds them to those of a response.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(ENGINE, self.profile.clone());
        headers.insert(DIGEST, self.digest.clone());
    }
}
