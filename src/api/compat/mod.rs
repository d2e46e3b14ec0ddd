//! Routes of RLHF trainers and of other servers, one file for each client's dialect. Each reads the client's
//! requests and writes its responses around the scoring in [`scoring`].
//!
//! To add a route, write its file and add it to [`routes`].

mod cohere;
mod embeddings;
mod encoding;
mod fastdeploy;
mod inputs;
mod openrlhf;
mod pooling;
mod scoring;
mod slime;
mod tei;
mod vllm;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use super::app::App;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(openrlhf::routes())
        .merge(slime::routes())
        .merge(vllm::routes())
        .merge(pooling::routes())
        .merge(embeddings::routes())
        .merge(tei::routes())
        .merge(cohere::routes())
        .merge(fastdeploy::routes())
}
