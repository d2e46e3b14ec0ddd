//! Routes of models that generate text: chat and completions, streamed or whole, and token ids.

mod chat;
mod choices;
mod completions;
mod options;
mod prompts;
mod stream;
mod tokenize;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

pub(super) use self::chat::completions as chat_completions;
pub(super) use self::completions::completions as text_completions;
pub(super) use self::options::GenerationSchema;
use super::app::App;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().merge(completions::routes()).merge(tokenize::routes())
}
