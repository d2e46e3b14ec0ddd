//! A server's life: bind, load, answer, drain, end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listen::tls::Tls;
use super::listen::{Limits, Port};
use super::watched::Watched;
use super::{App, admin, metrics_routes, router};
use crate::config::Settings;
use crate::hardware::machine::Ranks;
use crate::manifest::{Manifest, Target};
use crate::scheduler::Handle;
use crate::serving::{LoadError, load};
use crate::telemetry::traces::Traces;

/// Where the admin routes are: nothing outside the machine reaches it.
const LOOPBACK: &str = "127.0.0.1";
/// Time that the last answers have to leave in, once the grace time is over.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// How long before `mpirun` kills its ranks the grace time ends at the latest.
const BEFORE_KILL: Duration = Duration::from_millis(300);

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
    /// Told to end; what was not finished within the grace time was answered with an error.
    Undrained = 4,
    /// Told to end a second time, or while an engine for GPUs was loading.
    Killed = 143,
}

/// Runs a server until it is told to end or its engine fails.
///
/// # Errors
/// It cannot start; the text says why and what to do.
pub async fn run(mut settings: Settings) -> Result<Exit, String> {
    let mut signals = Signals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let manifest = load::choose(&mut settings).map_err(|error| error.to_string())?;
    if load::is_worker(&manifest) {
        // Signals are caught and ignored: the leader gets them too, and ends this rank in order.
        let worker = tokio::task::spawn_blocking(move || load::run_worker(&settings, &manifest));
        let ended = worker.await.map_err(|error| error.to_string())?;
        return ended.map(|()| Exit::Drained).map_err(|error| error.to_string());
    }
    let key_files = Watched::new(settings.security.api_keys_file.clone());
    let tls_files = Watched::new(Tls::files(&settings.security));
    let tls = Tls::open(&settings.security)?;
    let mut app = App::new(settings, &manifest)?;
    app.traces = Traces::from_environment()?;
    let app = Arc::new(app);
    // The ports answer while the engine loads: alive, and not ready.
    let (stop, stopping) = watch::channel(false);
    let ports = open(&app, tls.clone(), stopping).await?;
    if let Some(keys) = app.keys.clone() {
        tokio::spawn(key_files.each_change(move || keys.reload_and_tell()));
    }
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls_files.each_change(move || tls.reload_and_tell()));
    }
    let hangup =
        signal(SignalKind::hangup()).map_err(|error| format!("SIGHUP cannot be received: {error}"))?;
    tokio::spawn(reload_on(hangup, app.clone(), tls));
    let exit = load_and_serve(&app, manifest, &mut signals, stop, ports).await;
    // However it ends: what was answered while the engine loaded is traced too.
    if let Some(traces) = app.traces.clone() {
        let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
    }
    exit
}

/// From the first look at the engine to the last answer.
async fn load_and_serve(
    app: &Arc<App>,
    manifest: Manifest,
    signals: &mut Signals,
    stop: watch::Sender<bool>,
    ports: JoinSet<()>,
) -> Result<Exit, String> {
    // A library that loads cannot be ended in order, nor ranks that wait for this one.
    let interrupted = match &manifest.target {
        Target::TensorrtLlm(_) => Exit::Killed,
        Target::Cpu { .. } => Exit::Drained,
    };
    let load = tokio::task::spawn_blocking({
        let app = app.clone();
        move || {
            let model = load::load(&app.settings, &manifest, app.metrics.clone())?;
            let scheduler = model.scheduler().clone();
            app.start(model);
            Ok::<_, LoadError>(scheduler)
        }
    });
    let scheduler = tokio::select! {
        loaded = load => loaded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?,
        _ = signals.next() => return Ok(interrupted),
        () = app.drain.notified() => return Ok(interrupted),
    };
    tracing::info!(models = ?app.models, limits = ?scheduler.limits(), "ready");

    let mut grace = app.settings.server.shutdown_grace.0;
    let failed = tokio::select! {
        () = scheduler.failed() => true,
        told = signals.next() => {
            grace = told.grace(grace, Ranks::find());
            false
        }
        () = app.drain.notified() => false,
    };
    let ended = end(scheduler, stop, ports, grace);
    let exit = tokio::select! {
        exit = ended => exit,
        _ = signals.next() => Exit::Killed,
    };
    Ok(if failed { Exit::EngineFailed } else { exit })
}

/// Opens every port that the options ask for. What it gives ends once all of them have stopped.
async fn open(
    app: &Arc<App>,
    tls: Option<Arc<Tls>>,
    stopping: watch::Receiver<bool>,
) -> Result<JoinSet<()>, String> {
    let settings = &app.settings;
    let limits = Limits::new(&settings.server);
    let port = |listener, router, tls| Port {
        listener,
        router,
        tls,
        limits: limits.clone(),
        metrics: app.metrics.clone(),
    };
    let router = router(app.clone())?;
    let mut ports = JoinSet::new();
    let listener = bind(&settings.server.host, settings.server.port, "--port").await?;
    announce(&listener, "listening");
    ports.spawn(port(listener, router, tls).serve(stopping.clone()));
    if let Some(number) = settings.server.metrics_port {
        let listener = bind(&settings.server.host, number, "--metrics-port").await?;
        announce(&listener, "metrics have a port");
        ports.spawn(port(listener, metrics_routes().with_state(app.clone()), None).serve(stopping.clone()));
    }
    if let Some(number) = settings.server.admin_port {
        let listener = bind(LOOPBACK, number, "--admin-port").await?;
        announce(&listener, "admin routes have a port");
        ports.spawn(port(listener, admin::router(app.clone()), None).serve(stopping));
    }
    Ok(ports)
}

async fn bind(host: &str, port: u16, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind((host, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} of {host} is taken by another process: stop it, or choose another with {option}"
            )
        }
        _ => format!("{host}:{port} cannot be listened on: {error}"),
    })
}

fn announce(listener: &TcpListener, what: &str) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{what}");
    }
}

/// Reads the API keys and the certificates again at every SIGHUP.
async fn reload_on(mut hangup: Signal, app: Arc<App>, tls: Option<Arc<Tls>>) {
    while hangup.recv().await.is_some() {
        if let Some(keys) = &app.keys {
            keys.reload_and_tell();
        }
        if let Some(tls) = &tls {
            tls.reload_and_tell();
        }
    }
}

/// Finishes what is in flight, for no longer than `grace`, then answers the rest with an error. The port
/// stays open until that is done, so that whoever asks is told that the server is not ready.
async fn end(scheduler: Handle, stop: watch::Sender<bool>, ports: JoinSet<()>, grace: Duration) -> Exit {
    tracing::info!(grace = grace.as_secs_f64(), "ending: no new requests, finishing those in flight");
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
    tracing::warn!("the grace time is over: what is not finished is answered with an error");
    scheduler.abandon();
    let _ = tokio::time::timeout(LAST_ANSWERS, finished).await;
    Exit::Undrained
}

/// Signals that tell the server to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGUSR1, which `mpirun` passes on to its ranks and does nothing else about.
    User,
}

impl Told {
    /// The grace time that there is: a rank that is told by SIGTERM was most likely told by `mpirun`, which
    /// kills it soon, because it was told to end itself or because another rank is lost.
    fn grace(self, grace: Duration, ranks: Option<Ranks>) -> Duration {
        match ranks.and_then(|ranks| ranks.kill_after) {
            Some(kill_after) if self == Self::Terminate => grace.min(kill_after.saturating_sub(BEFORE_KILL)),
            _ => grace,
        }
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt, user: signal(SignalKind::user_defined1())? })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.interrupt.recv() => Told::Terminate,
            _ = self.user.recv() => Told::User,
        }
    }
}
