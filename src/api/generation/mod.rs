//! Routes of models that generate: chat and completions, streamed or whole.

mod chat;
pub(super) mod completions;
mod options;
mod stream;
pub(super) mod tokenize;
pub(super) mod wire;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

pub(super) use self::chat::completions as chat_completions;
use super::App;

/// The routes that no reward model has a part in.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/completions", post(completions::completions))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
}
