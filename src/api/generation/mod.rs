//! Routes of models that generate text: chat and completions, streamed or whole, and token ids.

mod chat;
mod chat_request;
mod choices;
mod completions;
mod detokenize;
mod logprobs;
mod options;
mod prompts;
mod stops;
mod stream;
mod tei_tokens;
mod text_tokens;
mod token_limits;
mod tokenize;
mod wanted_logprobs;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

pub(super) use self::chat::completions as chat_completions;
pub(super) use self::chat_request::ChatChoiceSchema;
pub(super) use self::completions::completions as text_completions;
pub(super) use self::options::GenerationSchema;
pub(super) use self::text_tokens::{OneOrEach, TEXTS, TextOrTexts, ids_or_lists, prompt_tokens};
use super::app::App;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(chat::routes())
        .merge(completions::routes())
        .merge(tokenize::routes())
        .merge(detokenize::routes())
        .merge(tei_tokens::routes())
}
