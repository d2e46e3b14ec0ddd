//! Signatures of the scores of one conversation, for files: JSON Web Signatures (RFC 7515) whose payload is not part of
//! them (RFC 7797), because the row has it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::canonical::canonical;
use super::{Mismatch, PublicKey, SigningKey};
use crate::manifest::EngineIdentity;

/// Signs the scores that one engine gave.
pub(crate) struct ScoreSigner {
    key: SigningKey,
    /// The protected header, which names the key and the engine.
    header: String,
}

/// Shows the key's id only.
impl fmt::Debug for ScoreSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ScoreSigner").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The header of a signature.
#[derive(Deserialize)]
struct Protected {
    alg: String,
    b64: bool,
    kid: String,
    engine: String,
    digest: String,
}

impl ScoreSigner {
    /// Signs with `key` for the engine.
    pub(crate) fn new(key: SigningKey, engine: &EngineIdentity) -> Self {
        let header = json!({
            "alg": "EdDSA",
            "b64": false,
            "crit": ["b64"],
            "digest": engine.digest,
            "engine": engine.profile,
            "kid": key.id(),
        });
        let header = BASE64.encode(canonical(&header));
        Self { key, header }
    }

    /// The id of the key.
    pub(crate) fn key_id(&self) -> &str {
        self.key.id()
    }

    /// The signature of a conversation's scores.
    pub(crate) fn sign(&self, conversation: &Value, scores: &[(String, f64)]) -> String {
        let message = message(&self.header, conversation, scores);
        format!("{}..{}", self.header, BASE64.encode(self.key.sign(message.as_bytes())))
    }
}

/// Checks the signature of a conversation's scores, and returns the engine that gave them.
///
/// # Errors
/// What differs from what was signed.
pub fn verify_scores(
    key: &PublicKey,
    signature: &str,
    conversation: &Value,
    scores: &[(String, f64)],
) -> Result<EngineIdentity, Mismatch> {
    const MALFORMED: Mismatch = Mismatch::Malformed("the signature");
    let (header, signature) = signature.split_once("..").ok_or(MALFORMED)?;
    let bytes = BASE64.decode(signature).map_err(|_| MALFORMED)?;
    let protected = BASE64.decode(header).map_err(|_| MALFORMED)?;
    let protected: Protected = serde_json::from_slice(&protected).map_err(|_| MALFORMED)?;
    if protected.alg != "EdDSA" || protected.b64 {
        return Err(MALFORMED);
    }
    if protected.kid != key.id() {
        return Err(Mismatch::OtherKey { signer: protected.kid, key: key.id().to_owned() });
    }
    if !key.verifies(message(header, conversation, scores).as_bytes(), &bytes) {
        return Err(Mismatch::Scores);
    }
    Ok(EngineIdentity { profile: protected.engine, digest: protected.digest })
}

/// The bytes that are signed.
fn message(header: &str, conversation: &Value, scores: &[(String, f64)]) -> String {
    let scores: Value = scores.iter().map(|(name, score)| (name.clone(), Value::from(*score))).collect();
    format!("{header}.{}", canonical(&json!({"conversation": conversation, "scores": scores})))
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::keys;
    use super::*;

    #[test]
    fn a_changed_score_conversation_or_signature_is_found() {
        let (private, public) = keys();
        let engine = EngineIdentity { profile: "e1".into(), digest: "d1".into() };
        let signer = ScoreSigner::new(private, &engine);
        let conversation = json!({"messages": [{"role": "user", "content": "Hi"}]});
        let reordered = json!({"messages": [{"content": "Hi", "role": "user"}]});
        let scores = [("good".to_owned(), 1.5), ("long".to_owned(), -0.25)];
        let signature = signer.sign(&conversation, &scores);
        assert_eq!(verify_scores(&public, &signature, &reordered, &scores).unwrap(), engine);
        let next = [(scores[0].0.clone(), f64::from_bits(1.5_f64.to_bits() + 1)), scores[1].clone()];
        let renamed = [("better".to_owned(), 1.5), scores[1].clone()];
        for changed in [&next[..], &renamed, &scores[..1], &[]] {
            let found = verify_scores(&public, &signature, &conversation, changed);
            assert_eq!(found.unwrap_err(), Mismatch::Scores);
        }
        let other = json!({"messages": [{"role": "user", "content": "Ha"}]});
        assert_eq!(verify_scores(&public, &signature, &other, &scores).unwrap_err(), Mismatch::Scores);
        for place in 0..signature.len() {
            let mut bytes = signature.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify_scores(&public, &changed, &conversation, &scores).is_err(), "{place}");
        }
    }
}
