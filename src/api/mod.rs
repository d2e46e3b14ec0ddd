//! HTTP. Only this module knows about routes and status codes.
//!
//! [`router`] is the whole surface over an [`App`]. [`serve`] opens its ports, loads the model and ends them
//! again. Each handler declares its path, its schemas and an example in one `#[utoipa::path]`, from which the
//! router and the OpenAPI document are made.

mod admin;
mod app;
mod background;
mod body_bytes;
mod budget;
mod chat;
mod compat;
mod deadline;
mod engine_headers;
mod error;
mod expanded;
mod fields;
mod file_watcher;
mod generation;
mod held;
mod invocations;
mod item_path;
mod items;
mod listen;
mod messages;
mod middleware;
mod nearest_route;
mod neutral;
mod nim_metadata;
mod openapi;
mod playground;
mod request;
mod response_id;
mod rewards;
mod router;
pub mod serve;
mod service;
mod signer;
mod stream_options;
mod template_variables;
mod token_ids;
mod truncation;
mod wire;

pub use app::{App, AppError};
pub use listen::tls::Tls;
pub use middleware::cors::OriginError;
pub use middleware::keys::KeyError;
pub use router::router;
