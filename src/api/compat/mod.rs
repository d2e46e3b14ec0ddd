//! Routes of RLHF trainers and of other servers, one file for each client's dialect. Each reads the client's
//! requests and writes its responses around the scoring in [`scoring`].
//!
//! To add a route, write its file and add it to [`routes`].

mod classify;
mod cohere;
mod context_logits;
mod embeddings;
mod encoding;
mod fastdeploy;
mod gym;
mod gym_metrics;
mod infinity;
mod inputs;
mod labels;
mod llama_factory;
mod lmdeploy;
mod nvidia;
mod openrlhf;
mod pooling;
mod probes;
mod query_item;
mod ranking;
mod score;
mod scoring;
mod sglang_classify;
mod sglang_info;
mod sglang_rerank;
mod sglang_score;
mod slime;
mod tei;
mod tei_service;
mod tokenizer_info;
mod vllm;
mod vllm_score;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

pub(super) use self::classify::classify;
pub(super) use self::cohere::rerank;
pub(super) use self::context_logits::respond as context_logits;
pub(super) use self::openrlhf::get_reward;
pub(super) use self::pooling::pooling;
pub(super) use self::score::answer as score;
pub(super) use self::tei::predict;
use super::app::App;

/// The routes that ask for no key.
pub(super) fn open_routes() -> OpenApiRouter<Arc<App>> {
    probes::open_routes().merge(infinity::open_routes())
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(openrlhf::routes())
        .merge(slime::routes())
        .merge(llama_factory::routes())
        .merge(gym::routes())
        .merge(gym_metrics::routes())
        .merge(classify::routes())
        .merge(score::routes())
        .merge(labels::routes())
        .merge(probes::routes())
        .merge(sglang_info::routes())
        .merge(sglang_rerank::routes())
        .merge(pooling::routes())
        .merge(embeddings::routes())
        .merge(tei::routes())
        .merge(tei_service::routes())
        .merge(tokenizer_info::routes())
        .merge(lmdeploy::routes())
        .merge(cohere::routes())
        .merge(nvidia::routes())
        .merge(infinity::routes())
        .merge(fastdeploy::routes())
}
