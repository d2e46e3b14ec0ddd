//! `GET /info` of text-embeddings-inference (TEI).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(info))
}

#[derive(Debug, Serialize, ToSchema)]
struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_dtype: String,
    model_type: ModelType<'a>,
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: usize,
    max_client_batch_size: usize,
    auto_truncate: bool,
    version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ModelType<'a> {
    Classifier(Labels<'a>),
    /// A model that generates text; TEI has no name for it.
    Generator,
}

#[derive(Debug, Serialize, ToSchema)]
struct Labels<'a> {
    id2label: BTreeMap<String, &'a str>,
    label2id: BTreeMap<&'a str, usize>,
}

/// What TEI says about its model.
#[utoipa::path(get, path = "/info", tag = "service", responses((status = 200, body = Info)))]
async fn info(State(app): State<Arc<App>>) -> Response {
    let manifest = &app.manifest;
    let model_type = match app.scorer() {
        Ok(scorer) => {
            let names = app.model(None).map(|model| model.names(scorer.head())).unwrap_or_default();
            let id2label = names.iter().enumerate().map(|(id, name)| (id.to_string(), *name)).collect();
            let label2id = names.iter().enumerate().map(|(id, name)| (*name, id)).collect();
            ModelType::Classifier(Labels { id2label, label2id })
        }
        Err(_) => ModelType::Generator,
    };
    Json(Info {
        model_id: &app.models[0],
        model_sha: Some(&manifest.profile.id),
        model_dtype: manifest.dtype.to_string(),
        model_type,
        max_concurrent_requests: app.settings.scheduling.max_queue_requests,
        max_input_length: app.max_seq_len,
        max_batch_tokens: manifest.limits.max_num_tokens,
        max_batch_requests: manifest.limits.max_batch_size,
        max_client_batch_size: app.settings.server.max_request_items,
        auto_truncate: false,
        version: env!("CARGO_PKG_VERSION"),
    })
    .into_response()
}
