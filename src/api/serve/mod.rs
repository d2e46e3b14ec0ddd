//! The life of a server: open the ports, load the engine, answer, drain, end.

mod announcement;
mod engine_watch;
mod ports;
mod signals;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::engine_watch::EngineWatch;
pub use self::ports::ListenError;
use self::ports::Ports;
use self::signals::Signals;
use super::app::{App, AppError};
use super::file_watcher::FileWatcher;
use super::listen::tls::{Tls, TlsError};
use super::middleware::cors::OriginError;
use super::router::router;
use crate::config::{ConfigError, OnEngineChange, Settings};
use crate::engine::backends;
use crate::hardware::Ranks;
use crate::manifest::Manifest;
use crate::scheduler::Handle;
use crate::serving::{LoadError, load};
use crate::telemetry::traces::{Traces, TracesError};

/// Time to flush the last responses after the grace period.
const FLUSH_TIME: Duration = Duration::from_millis(100);

/// How a server ended: the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was asked to end, and everything in flight was answered.
    Drained = 0,
    /// It could not start: see [`ServeError`].
    NotStarted = 1,
    /// The engine failed or stalled; an orchestrator should replace the process.
    EngineFailed = 3,
    /// It was asked to end, and what was not finished within the grace time was answered with an error.
    Undrained = 4,
    /// The engine directory no longer holds the engine that was served, and an option says to end then.
    EngineChanged = 5,
    /// It was asked to end a second time, or while an engine for GPUs was loading.
    Killed = 143,
}

/// Why a server ended before it could answer requests.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system does not let the process receive signals.
    #[error("cannot receive signals: {0}")]
    Signals(#[from] io::Error),
    /// An option does not fit the engine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine cannot be chosen or loaded.
    #[error(transparent)]
    Load(Box<LoadError>),
    /// The thread that loads the engine panicked.
    #[error("the thread that loads the engine ended: {0}")]
    Thread(#[from] JoinError),
    /// TLS cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics or the API keys cannot be used.
    #[error(transparent)]
    App(#[from] AppError),
    /// An origin is not valid.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Traces cannot be sent as the environment variables ask.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

impl ServeError {
    /// The process's exit status.
    pub fn exit(&self) -> Exit {
        Exit::NotStarted
    }
}

impl From<LoadError> for ServeError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

/// Runs a server of the engine that [`Settings::choose_engine`] chose, until a signal ends it or its engine fails.
///
/// # Errors
/// It cannot start.
pub async fn run(settings: Settings, manifest: Manifest) -> Result<Exit, ServeError> {
    let mut signals = Signals::new()?;
    if let Some(worker) = load::worker(&settings.engine.directory, &settings.engine_options(), &manifest) {
        // Signals are caught and ignored: the leader gets them too, and ends this rank in order.
        tokio::task::spawn_blocking(worker).await??;
        return Ok(Exit::Drained);
    }
    let security = &settings.security;
    let key_files = FileWatcher::new(security.api_keys_file.clone());
    let signing_files = FileWatcher::new(security.signing_key.clone());
    let tls_files = FileWatcher::new(Tls::files(security));
    let tls = Tls::open(security)?;
    let mut app = App::new(settings, &manifest)?;
    app.traces = Traces::from_environment()?;
    let app = Arc::new(app);
    // The ports answer while the engine loads: alive, and not ready.
    let (stop, stopping) = watch::channel(false);
    let ports = ports::open(&app, router(app.clone())?, tls.clone(), stopping).await?;
    if app.keys.is_some() {
        let app = app.clone();
        tokio::spawn(key_files.on_change(move || app.reload_keys()));
    }
    if let Some(signer) = &app.signer {
        tracing::info!(key = signer.key().id(), "responses with scores are signed");
        let app = app.clone();
        tokio::spawn(signing_files.on_change(move || app.reload_signing_key()));
    }
    if let Some(tls) = tls.clone() {
        let metrics = app.metrics.clone();
        metrics.certificate_expires(tls.expiry());
        tokio::spawn(tls_files.on_change(move || {
            tls.reload_and_log();
            metrics.certificate_expires(tls.expiry());
        }));
    }
    tokio::spawn(reload_on(signal(SignalKind::hangup())?, app.clone(), tls));
    let exit = load_and_serve(&app, manifest, &mut signals, stop, ports).await;
    // However the server ended, requests that were answered while the engine loaded are traced too.
    if let Some(traces) = app.traces.clone() {
        let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
    }
    exit
}

/// From loading the engine to the last response.
async fn load_and_serve(
    app: &Arc<App>,
    manifest: Manifest,
    signals: &mut Signals,
    stop: watch::Sender<bool>,
    ports: Ports,
) -> Result<Exit, ServeError> {
    let mut watch = EngineWatch::new(app.settings.engine.directory.clone(), manifest.clone());
    let interruptible = backends::for_manifest(&manifest).is_interruptible();
    let interrupted = if interruptible { Exit::Drained } else { Exit::Killed };
    let load = tokio::task::spawn_blocking({
        let app = app.clone();
        move || load_model(&app, &manifest)
    });
    let scheduler = tokio::select! {
        loaded = load => loaded??,
        _ = signals.next() => return Ok(interrupted),
        () = app.drain.notified() => return Ok(interrupted),
    };
    announcement::log(app, &scheduler.limits(), ports.address);

    let mut grace = app.settings.server.shutdown_grace.0;
    let reason = tokio::select! {
        () = scheduler.failed() => Some(Exit::EngineFailed),
        ending = signals.next() => {
            grace = ending.grace(grace, Ranks::detect());
            None
        }
        () = app.drain.notified() => None,
        () = engine_changed(app, &mut watch) => Some(Exit::EngineChanged),
    };
    let drained = drain(scheduler, stop, ports.tasks, grace);
    let exit = tokio::select! {
        exit = drained => exit,
        _ = signals.next() => Exit::Killed,
    };
    Ok(reason.unwrap_or(exit))
}

/// Reports every change of the engine directory; resolves at the first if an option says to end the server then.
async fn engine_changed(app: &App, watch: &mut EngineWatch) {
    loop {
        let change = watch.change().await;
        app.metrics.engine_changed();
        let directory = app.settings.engine.directory.display();
        match app.settings.engine.on_engine_change {
            OnEngineChange::Exit => {
                tracing::error!(%directory, "the engine directory was changed, and the server ends: {change}");
                return;
            }
            OnEngineChange::Report => tracing::error!(
                %directory,
                "the engine directory was changed; scores still come from the engine that was loaded, and a restarted \
                 server would give others: {change}"
            ),
        }
    }
}

fn load_model(app: &App, manifest: &Manifest) -> Result<Handle, ServeError> {
    let options = app.settings.load_options(manifest)?;
    let model = load::load(&options, manifest, app.metrics.clone())?;
    let scheduler = model.scheduler().clone();
    app.start(model);
    Ok(scheduler)
}

/// Reads the API keys and the certificates again at every SIGHUP.
async fn reload_on(mut hangup: Signal, app: Arc<App>, tls: Option<Arc<Tls>>) {
    while hangup.recv().await.is_some() {
        app.reload_keys();
        app.reload_signing_key();
        if let Some(tls) = &tls {
            tls.reload_and_log();
            app.metrics.certificate_expires(tls.expiry());
        }
    }
}

/// What SIGTERM starts: finishes what is in flight, for no longer than `grace`, then answers the rest with an error. The
/// `ports`, which end soon after `stop` becomes true, stay open until then, so that clients learn that the server is not
/// ready.
pub async fn drain(
    scheduler: Handle,
    stop: watch::Sender<bool>,
    ports: JoinSet<()>,
    grace: Duration,
) -> Exit {
    tracing::info!(grace = grace.as_secs_f64(), "shutting down: finishing requests in flight");
    scheduler.drain();
    let finished = async {
        scheduler.drained().await;
        let _ = stop.send(true);
        ports.join_all().await;
    };
    let mut finished = pin!(finished);
    if tokio::time::timeout(grace, &mut finished).await.is_ok() {
        return Exit::Drained;
    }
    tracing::warn!("the grace time is over: unfinished requests get an error");
    scheduler.abandon();
    let _ = tokio::time::timeout(FLUSH_TIME, finished).await;
    Exit::Undrained
}
