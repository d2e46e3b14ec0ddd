//! Routes of RLHF trainers and of other servers, one file for each client's dialect. Each reads the client's
//! requests and writes its responses around the scoring in [`scoring`].
//!
//! To add a route, write its file and add it to [`routes`].

mod classify;
mod cohere;
mod embeddings;
mod encoding;
mod fastdeploy;
mod inputs;
mod invocations;
mod labels;
mod openrlhf;
mod pooling;
mod probes;
mod score;
mod scoring;
mod sglang_classify;
mod sglang_info;
mod sglang_score;
mod slime;
mod tei;
mod vllm;
mod vllm_score;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use super::app::App;

/// The routes that ask for no key.
pub(super) fn open_routes() -> OpenApiRouter<Arc<App>> {
    probes::open_routes()
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(openrlhf::routes())
        .merge(slime::routes())
        .merge(classify::routes())
        .merge(score::routes())
        .merge(labels::routes())
        .merge(probes::routes())
        .merge(sglang_info::routes())
        .merge(pooling::routes())
        .merge(embeddings::routes())
        .merge(tei::routes())
        .merge(cohere::routes())
        .merge(fastdeploy::routes())
        .merge(invocations::routes())
}
