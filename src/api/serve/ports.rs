//! The ports that a server opens.

use std::io;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::app::App;
use crate::api::listen::tls::Tls;
use crate::api::listen::{Limits, Port};
use crate::api::{admin, service};

/// Where the admin port listens: nothing outside the machine reaches it.
const LOOPBACK: &str = "127.0.0.1";

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error("cannot listen on {host}:{port}: the port is in use; choose another with {option}")]
    InUse {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The option that sets the port.
        option: &'static str,
    },
    /// The system refuses it for another reason.
    #[error("cannot listen on {host}:{port}: {source}")]
    Refused {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// What the system reported.
        source: io::Error,
    },
}

/// Opens every port that the options ask for; `router` answers on the main one. The tasks end once `stopping` is
/// true and the requests are answered.
///
/// # Errors
/// A port cannot be opened.
pub(super) async fn open(
    app: &Arc<App>,
    router: Router,
    tls: Option<Arc<Tls>>,
    stopping: watch::Receiver<bool>,
) -> Result<JoinSet<()>, ListenError> {
    let settings = &app.settings.server;
    let mut ports = JoinSet::new();
    let listener = bind(&settings.host, settings.port, "--port").await?;
    log_address(&listener, "listening");
    ports.spawn(new_port(app, listener, router, tls).serve(stopping.clone()));
    if let Some(number) = settings.metrics_port {
        let listener = bind(&settings.host, number, "--metrics-port").await?;
        log_address(&listener, "metrics listening");
        let router = Router::from(service::metrics_routes()).with_state(app.clone());
        ports.spawn(new_port(app, listener, router, None).serve(stopping.clone()));
    }
    if let Some(number) = settings.admin_port {
        let listener = bind(LOOPBACK, number, "--admin-port").await?;
        log_address(&listener, "admin listening");
        let router = admin::router(app.clone());
        ports.spawn(new_port(app, listener, router, None).serve(stopping));
    }
    Ok(ports)
}

fn new_port(app: &App, listener: TcpListener, router: Router, tls: Option<Arc<Tls>>) -> Port {
    Port { listener, router, limits: Limits::new(&app.settings.server), tls, metrics: app.metrics.clone() }
}

async fn bind(host: &str, port: u16, option: &'static str) -> Result<TcpListener, ListenError> {
    let host = host.to_owned();
    match TcpListener::bind((host.as_str(), port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(ListenError::InUse { host, port, option })
        }
        Err(source) => Err(ListenError::Refused { host, port, source }),
    }
}

fn log_address(listener: &TcpListener, message: &str) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{message}");
    }
}
