//! A server's life: bind, load, answer, drain, end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{App, load, router};
use crate::config::Settings;
use crate::engine::machine::Machine;
use crate::engine::manifest::{MANIFEST_FILE, Manifest};
use crate::engine::profiles;
use crate::scheduler::Handle;

/// How a server ended: the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Told to end; everything in flight was answered.
    Drained = 0,
    /// Could not start, for a reason that was printed.
    NotStarted = 1,
    /// The engine failed or stalled; an orchestrator should put another process in its place.
    EngineFailed = 3,
    /// Told to end; some requests were not answered within the grace time.
    Undrained = 4,
    /// Told to end a second time.
    Killed = 143,
}

/// Runs a server until it is told to end or its engine fails.
///
/// # Errors
/// It cannot start; the text says why and what to do.
pub async fn run(mut settings: Settings) -> Result<Exit, String> {
    let mut signals = Signals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let manifest = choose(&mut settings)?;
    if load::follows(&manifest) {
        // Signals are caught and left alone: the rank that leads is told too, and ends this one in order.
        let follow = tokio::task::spawn_blocking(move || load::follow(&settings, &manifest));
        return follow.await.map_err(|error| error.to_string())?.map(|()| Exit::Drained);
    }
    let app = App::new(settings, &manifest).map_err(|error| error.to_string())?;
    let app = Arc::new(app);
    let listener = bind(&app.settings.host, app.settings.port).await?;

    // The port answers while the engine loads: alive, and not ready.
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(listen(listener, app.clone(), stopping));
    let load = tokio::task::spawn_blocking({
        let app = app.clone();
        move || load::load(&app, &manifest)
    });
    let scheduler = tokio::select! {
        loaded = load => loaded.map_err(|error| error.to_string())??,
        () = signals.next() => return Ok(Exit::Drained),
    };
    tracing::info!(models = ?app.models, limits = ?scheduler.limits(), "ready");

    let failed = tokio::select! {
        () = scheduler.failed() => true,
        () = signals.next() => false,
    };
    let ended = end(scheduler, stop, server, app.settings.shutdown_grace.0);
    let exit = tokio::select! {
        exit = ended => exit,
        () = signals.next() => Exit::Killed,
    };
    Ok(if failed { Exit::EngineFailed } else { exit })
}

/// The engine to serve, whose directory becomes `settings.engine`. One that is only simulated runs anywhere.
///
/// # Errors
/// None of those there are runs here; the text says why and what to do.
pub fn choose(settings: &mut Settings) -> Result<Manifest, String> {
    let whole = settings.engine.join(MANIFEST_FILE).exists();
    if settings.simulate.is_some() && whole {
        return Manifest::read(&settings.engine).map_err(|error| error.to_string());
    }
    let chosen = profiles::choose(&settings.engine, &settings.profile, &Machine::this());
    let (directory, manifest) = chosen.map_err(|error| error.to_string())?;
    settings.engine = directory;
    Ok(manifest)
}

async fn bind(host: &str, port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((host, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} of {host} is taken by another process: stop it, or choose another with --port"
            )
        }
        _ => format!("{host}:{port} cannot be listened on: {error}"),
    })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    Ok(listener)
}

/// Answers connections until told to stop, and then until the requests on them are answered.
async fn listen(listener: TcpListener, app: Arc<App>, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
    });
    let stopped = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, router(app)).with_graceful_shutdown(stopped).await
}

/// Finishes what is in flight, for no longer than `grace`. The port stays open until that is done,
/// so that whoever asks is told that the server is not ready.
async fn end(
    scheduler: Handle,
    stop: watch::Sender<bool>,
    server: impl Future<Output = Result<io::Result<()>, tokio::task::JoinError>>,
    grace: Duration,
) -> Exit {
    tracing::info!(grace = grace.as_secs_f64(), "ending: no new requests, finishing those in flight");
    scheduler.drain();
    let finished = async {
        scheduler.drained().await;
        let _ = stop.send(true);
        let _ = server.await;
    };
    match tokio::time::timeout(grace, finished).await {
        Ok(()) => Exit::Drained,
        Err(_) => {
            tracing::warn!("the grace time is over and some requests are not answered");
            Exit::Undrained
        }
    }
}

/// SIGTERM and SIGINT, which mean the same here.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
