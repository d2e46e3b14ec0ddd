//! What a loaded model's scores depend on, in one digest.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{LoadedModel, Scorer};
use crate::manifest::digest::hexadecimal;
use crate::manifest::{EngineIdentity, Manifest};

impl LoadedModel {
    /// The identity of the model of `manifest` with the options with which it was loaded.
    pub(crate) fn identity(&self, manifest: &Manifest, simulated: bool) -> EngineIdentity {
        let (options, judge) = match self {
            Self::Scorer(scorer) => (Scorer::score_options(scorer), scorer.head().judge()),
            Self::Generator(_) => (None, None),
        };
        let profile = &manifest.profile.id;
        let identity = json!({
            "profile": profile,
            "score_options": options,
            "judge": judge,
            "chat_template_kwargs": self.encoder().variables().to_json(),
            "simulated": simulated,
        });
        let digest = hexadecimal(&Sha256::digest(identity.to_string()));
        EngineIdentity { profile: profile.clone(), digest }
    }
}
