//! [`TokenizerError`], and panics of the tokenizers crate as errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a tokenizer cannot be used, or cannot encode a text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenizerError {
    #[error(transparent)]
    Tokenizers(#[from] tokenizers::Error),
    #[error("cannot search for its added tokens: {0}")]
    Search(#[from] aho_corasick::BuildError),
    #[error("its normalizer makes more than {limit} bytes of a text")]
    Exploded {
        /// Bytes that the text may have.
        limit: usize,
    },
    #[error("its normalizer inserts {0} bytes at once, which no tokenizer needs")]
    LongReplacement(usize),
    #[error("its map of characters (precompiled_charsmap) is malformed")]
    Charsmap,
    /// The client that the text came from has left.
    #[error("it was cancelled")]
    Cancelled,
    /// The vocabulary spells a control token in a text, and there is no other way to write that text.
    #[error("`{0}` is a control token and has no spelling as text")]
    Unspellable(String),
}

/// Runs what may panic in the tokenizers crate: it does on some files that are damaged or inconsistent, such as a
/// `Precompiled` normalizer without data, or a post-processor that names a token without saying which it is.
pub(super) fn without_panics<T, E: From<tokenizers::Error>>(
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    // What the closure changes is dropped with the tokenizer that is refused, or with the text.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map_or("", String::as_str);
        let reason = if words.contains("retry-limit") {
            "a pattern of its tokenizer backtracks too often on it"
        } else {
            "the tokenizers crate panicked on it"
        };
        Err(tokenizers::Error::from(reason).into())
    })
}
