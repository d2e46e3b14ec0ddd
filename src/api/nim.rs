//! What NIM says of itself besides health, models and version: metadata, manifest, license.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{ApiError, App};

const LICENSE: &str = include_str!("../../LICENSE");

/// What is served.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    /// Files of the engine.
    asset_info: Vec<Asset>,
    license_info: License,
    model_info: Vec<ModelInfo>,
    /// Of the server.
    version: &'static str,
    /// Id of the engine's profile.
    selected_model_profile_id: String,
    /// Name of that profile.
    selected_model_profile: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Asset {
    name: String,
    sha256: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelInfo {
    short_name: String,
    model_url: String,
}

/// The server's license; a model has its own.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct License {
    name: &'static str,
    path: &'static str,
    sha: String,
    size: usize,
    url: &'static str,
    r#type: &'static str,
    content: &'static str,
}

/// The engine's manifest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ManifestFile {
    /// In YAML.
    manifest_file: String,
}

/// What is served: the engine's files, its profile, the server's version and license.
#[utoipa::path(get, path = "/v1/metadata", tag = "service", responses((status = 200, body = Metadata)))]
pub(super) async fn metadata(State(app): State<Arc<App>>) -> Json<Metadata> {
    let manifest = &app.manifest;
    let assets =
        manifest.files.iter().map(|(name, file)| Asset { name: name.clone(), sha256: file.sha256.clone() });
    Json(Metadata {
        asset_info: assets.collect(),
        license_info: license_info(),
        model_info: vec![ModelInfo {
            short_name: manifest.model.name.clone(),
            model_url: format!("file://{}", app.settings.engine.directory.display()),
        }],
        version: env!("CARGO_PKG_VERSION"),
        selected_model_profile_id: manifest.profile.id.clone(),
        selected_model_profile: manifest.profile.name.clone(),
    })
}

/// The engine's manifest, as `engine.yaml` has it.
#[utoipa::path(get, path = "/v1/manifest", tag = "service", responses((status = 200, body = ManifestFile)))]
pub(super) async fn manifest(State(app): State<Arc<App>>) -> Result<Json<ManifestFile>, ApiError> {
    let manifest_file =
        serde_saphyr::to_string(&app.manifest).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Json(ManifestFile { manifest_file }))
}

/// The server's license.
#[utoipa::path(get, path = "/v1/license", tag = "service", responses((status = 200, body = License)))]
pub(super) async fn license() -> Json<License> {
    Json(license_info())
}

fn license_info() -> License {
    License {
        name: "Apache-2.0",
        path: "LICENSE",
        sha: Sha256::digest(LICENSE).iter().map(|byte| format!("{byte:02x}")).collect(),
        size: LICENSE.len(),
        url: "https://www.apache.org/licenses/LICENSE-2.0",
        r#type: "file",
        content: LICENSE,
    }
}
