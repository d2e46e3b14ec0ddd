//! The ports that a server opens.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::app::App;
use crate::api::listen::tls::Tls;
use crate::api::listen::{Limits, Port};
use crate::api::{admin, service};

/// Minimum number of connections that may wait to be accepted.
const LEAST_BACKLOG: u32 = 128;
/// Files that a server has open in addition to its connections.
const OTHER_FILES: u64 = 256;
/// Where the admin port listens: nothing outside the machine reaches it.
const LOOPBACK: &str = "127.0.0.1";

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ListenError {
    /// Another process has it.
    #[error("cannot listen on {host}:{port}: the port is in use; choose another with {option}")]
    InUse {
        host: String,
        port: u16,
        /// The option that sets the port.
        option: &'static str,
    },
    /// The system refuses it for another reason.
    #[error("cannot listen on {host}:{port}: {source}")]
    Refused {
        host: String,
        port: u16,
        /// What the system reported.
        source: io::Error,
    },
}

/// The ports of a server.
pub(super) struct Ports {
    /// Tasks that answer on them.
    pub(super) tasks: JoinSet<()>,
    /// Address of the main one.
    pub(super) address: SocketAddr,
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
) -> Result<Ports, ListenError> {
    let settings = &app.settings.server;
    let mut tasks = JoinSet::new();
    raise_file_limit(settings.max_connections);
    let backlog = settings.max_connections;
    let listener = bind(&settings.host, settings.port, backlog, "--port").await?;
    log_address(&listener, "listening");
    let address = listener.local_addr().map_err(|source| {
        let (host, port) = (settings.host.clone(), settings.port);
        ListenError::Refused { host, port, source }
    })?;
    tasks.spawn(new_port(app, listener, router, tls).serve(stopping.clone()));
    if let Some(number) = settings.metrics_port {
        let listener = bind(&settings.host, number, backlog, "--metrics-port").await?;
        log_address(&listener, "metrics listening");
        let router = Router::from(service::metrics_routes()).with_state(app.clone());
        tasks.spawn(new_port(app, listener, router, None).serve(stopping.clone()));
    }
    if let Some(number) = settings.admin_port {
        let listener = bind(LOOPBACK, number, backlog, "--admin-port").await?;
        log_address(&listener, "admin listening");
        let router = admin::router(app.clone());
        tasks.spawn(new_port(app, listener, router, None).serve(stopping));
    }
    Ok(Ports { tasks, address })
}

fn new_port(app: &App, listener: TcpListener, router: Router, tls: Option<Arc<Tls>>) -> Port {
    Port { listener, router, limits: Limits::new(&app.settings.server), tls, metrics: app.metrics.clone() }
}

/// Opens a port with a backlog of `backlog` connections, or as many as the system allows: with too few, clients that
/// connect at the same moment retry only after a second.
async fn bind(
    host: &str,
    port: u16,
    backlog: usize,
    option: &'static str,
) -> Result<TcpListener, ListenError> {
    let host = host.to_owned();
    match listen(&host, port, backlog).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(ListenError::InUse { host, port, option })
        }
        Err(source) => Err(ListenError::Refused { host, port, source }),
    }
}

async fn listen(host: &str, port: u16, backlog: usize) -> io::Result<TcpListener> {
    let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).clamp(LEAST_BACKLOG, i32::MAX as u32);
    let mut refused = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match listen_at(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn listen_at(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that restarts gets its port back although old connections are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Raises the limit on open files to what `connections` connections need, or as far as the system allows.
fn raise_file_limit(connections: usize) {
    let needed = connections as u64 + OTHER_FILES;
    match rlimit::increase_nofile_limit(needed) {
        Ok(limit) if limit < needed => {
            tracing::warn!(limit, needed, "the limit of open files is too low for --max-connections");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, needed, "cannot raise the limit of open files"),
    }
}

fn log_address(listener: &TcpListener, message: &str) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{message}");
    }
}
