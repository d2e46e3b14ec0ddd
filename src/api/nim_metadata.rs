//! The routes by which NVIDIA NIM describes itself, apart from health, models and version.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::ApiError;
use crate::manifest::digest::hexadecimal;

const LICENSE: &str = include_str!("../../LICENSE");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(metadata)).routes(routes!(manifest)).routes(routes!(license))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// Files of the engine.
    asset_info: Vec<Asset>,
    license_info: License,
    model_info: Vec<ModelInfo>,
    /// The server's version.
    version: &'static str,
    selected_model_profile_id: String,
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

/// The license of the server, not of the model.
#[derive(Debug, Serialize, ToSchema)]
struct License {
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
struct ManifestFile {
    /// The YAML text.
    manifest_file: String,
}

/// Describes the engine's files, its profile, and the server's version and license.
#[utoipa::path(get, path = "/v1/metadata", tag = "service", responses((status = 200, body = Metadata)))]
async fn metadata(State(app): State<Arc<App>>) -> Json<Metadata> {
    let manifest = &app.manifest;
    let mut asset_info = Vec::with_capacity(manifest.files.len());
    for (name, file) in &manifest.files {
        asset_info.push(Asset { name: name.clone(), sha256: file.sha256.clone() });
    }
    Json(Metadata {
        asset_info,
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
async fn manifest(State(app): State<Arc<App>>) -> Result<Json<ManifestFile>, ApiError> {
    let manifest_file = serde_saphyr::to_string(&app.manifest).map_err(ApiError::internal)?;
    Ok(Json(ManifestFile { manifest_file }))
}

/// The license of the server, not of the model.
#[utoipa::path(get, path = "/v1/license", tag = "service", responses((status = 200, body = License)))]
async fn license() -> Json<License> {
    Json(license_info())
}

fn license_info() -> License {
    License {
        name: "Apache-2.0",
        path: "LICENSE",
        sha: hexadecimal(&Sha256::digest(LICENSE)),
        size: LICENSE.len(),
        url: "https://www.apache.org/licenses/LICENSE-2.0",
        r#type: "file",
        content: LICENSE,
    }
}
