//! The router: which routes there are, and which of them ask for an API key.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::any_service;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::normalize_path::NormalizePath;
use utoipa_axum::router::OpenApiRouter;

use super::app::App;
use super::error::ApiError;
use super::held::until_sent;
use super::middleware::auth::require_key;
use super::middleware::cors::{self, OriginError};
use super::middleware::engine::name_engine;
use super::middleware::observe::{observe, panicked};
use super::middleware::sign::sign;
use super::nearest_route::RouteIndex;
use super::{chat, compat, generation, invocations, nim_metadata, openapi, playground, rewards, service};

/// The whole HTTP surface. A slash at the end of a path changes nothing.
///
/// # Errors
/// The option `cors_origin` names something that is not an origin.
pub fn router(app: Arc<App>) -> Result<Router, OriginError> {
    let origins = &app.settings.security.cors_origin;
    let cors = if origins.is_empty() { None } else { Some(cors::layer(origins)?) };
    let (open, keyed) = routes(&app);
    let document = openapi::document(&open, &keyed, app.keys.is_some());
    let index = Arc::new(RouteIndex::new(&document));
    let methods = index.clone();
    let keyed = Router::from(keyed)
        .fallback(move |uri: Uri| unknown_route(index.clone(), uri))
        .layer(from_fn_with_state(app.clone(), name_engine))
        .layer(from_fn_with_state(app.clone(), sign))
        .layer(from_fn_with_state(app.clone(), require_key))
        .layer(map_response(until_sent));
    let mut open = Router::from(open).merge(openapi::pages(document));
    if app.settings.server.playground {
        open = open.merge(playground::routes());
    }
    let routes = keyed
        .merge(open)
        .method_not_allowed_fallback(move |method: Method, uri: Uri| {
            wrong_method(methods.clone(), method, uri)
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), observe));
    let routes = match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    let routes = routes.with_state(app);
    // The page of the API is at a path with a slash.
    let page = Router::new().route("/docs/", any_service(routes.clone()));
    Ok(page.fallback_service(NormalizePath::trim_trailing_slash(routes)))
}

/// The routes that are open to everyone, and those that ask for a key if the server has keys.
fn routes(app: &App) -> (OpenApiRouter<Arc<App>>, OpenApiRouter<Arc<App>>) {
    let mut open = OpenApiRouter::new().merge(service::health()).merge(compat::open_routes());
    let mut keyed = OpenApiRouter::new()
        .merge(chat::routes())
        .merge(rewards::routes())
        .merge(generation::routes())
        .merge(compat::routes())
        .merge(invocations::routes())
        .merge(service::routes())
        .merge(nim_metadata::routes());
    let settings = &app.settings;
    if settings.server.metrics_port.is_none() {
        if settings.security.protect_metrics {
            keyed = keyed.merge(service::metrics_routes());
        } else {
            open = open.merge(service::metrics_routes());
        }
    }
    (open, keyed)
}

async fn unknown_route(index: Arc<RouteIndex>, uri: Uri) -> ApiError {
    let nearest = index.nearest(uri.path()).map(str::to_owned);
    ApiError::UnknownRoute { path: uri.path().to_owned(), nearest }
}

async fn wrong_method(index: Arc<RouteIndex>, method: Method, uri: Uri) -> ApiError {
    let allowed = index.methods(uri.path());
    ApiError::WrongMethod { path: uri.path().to_owned(), method: method.to_string(), allowed }
}
