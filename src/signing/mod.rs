//! Signed scores: proof that the holder of an Ed25519 key gave them, for HTTP responses (`response`) and for rows of
//! files (`scores`).

mod canonical;
mod key;
mod response;
mod scores;

pub use key::{PublicKey, SigningKey, SigningKeyError};
pub(crate) use response::{BodyDigest, DIGEST, ENGINE, SIGNATURE_HEADERS, SignedParts, sign_response};
pub use response::{ReceivedResponse, VerifiedResponse, verify_response};
pub(crate) use scores::ScoreSigner;
pub use scores::verify_scores;

/// How something differs from what was signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Mismatch {
    /// A header is missing.
    #[error("the response is not signed: it has no header {0}")]
    Unsigned(String),
    /// A row has scores and no signature.
    #[error("the scores are not signed")]
    UnsignedScores,
    /// A column with scores has a value that no signature covers.
    #[error(
        "`{0}` has a value that is not the score of a response of the row, so nothing signs it; if the column is not one \
         of `assay score`, name the scores with --attributes"
    )]
    OtherValue(String),
    /// A signature cannot be read.
    #[error("{0} does not have the form of one that Assay signed with")]
    Malformed(&'static str),
    /// Another key signed.
    #[error("it is signed by the key {signer}, and the key to check with is {key}")]
    OtherKey { signer: String, key: String },
    /// The body of the request is not the one that was answered.
    #[error("the request is not the one that was answered: its body differs from the one that was signed")]
    RequestBody,
    /// The body of the response was changed.
    #[error("the body of the response differs from the one that was signed")]
    ResponseBody,
    /// Something else that the signature covers was changed.
    #[error(
        "the signature does not fit: the status, the route, x-assay-engine, x-assay-digest or a header of the \
         signature differs from what was signed"
    )]
    Response,
    /// The scores, what was scored, or the signature was changed.
    #[error(
        "the signature does not fit: the conversation, a score, its name or the engine differs from what was signed"
    )]
    Scores,
}
