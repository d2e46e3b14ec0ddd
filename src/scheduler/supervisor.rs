//! Watches over the engine: hands it iterations, notices that it failed or stalled, starts it again.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never};

use super::core::Feed;
use super::{OnFailure, Options};
use crate::engine::{Engine, EngineError, EngineFactory, Iteration, Report};

/// What happened to the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    None,
    /// No report came for this long with work in flight.
    Stalled(Duration),
    /// It runs again, with nothing cached.
    Restarted,
    /// It will not run again, for this reason.
    GivenUp(String),
}

/// What a thread that starts the engine hands back.
pub(super) type Started = (Box<dyn EngineFactory>, Result<Running, EngineError>);

pub(super) struct Running {
    engine: Box<dyn Engine>,
    reports: Receiver<Report>,
    /// Since when an iteration has been running.
    busy_since: Option<Instant>,
}

enum State {
    Running(Box<dyn EngineFactory>, Running),
    Starting,
    Lost,
}

pub(super) struct Supervisor {
    options: Options,
    state: State,
    /// Holds nothing unless an engine is being started.
    starts: Receiver<Started>,
    idle_reports: Receiver<Report>,
    /// Starts that failed since the engine last gave a report.
    failed_starts: u32,
    event: Event,
}

impl Supervisor {
    pub(super) fn new(
        factory: Box<dyn EngineFactory>,
        engine: Box<dyn Engine>,
        reports: Receiver<Report>,
        options: Options,
    ) -> Self {
        Self {
            options,
            state: State::Running(factory, Running { engine, reports, busy_since: None }),
            starts: never(),
            idle_reports: never(),
            failed_starts: 0,
            event: Event::None,
        }
    }

    /// Where the engine reports. Those of a lost engine are never read.
    pub(super) fn reports(&self) -> &Receiver<Report> {
        match &self.state {
            State::Running(_, running) => &running.reports,
            State::Starting | State::Lost => &self.idle_reports,
        }
    }

    /// Where an engine that was started again arrives.
    pub(super) fn starts(&self) -> &Receiver<Started> {
        &self.starts
    }

    fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(_, running) => Some(running),
            State::Starting | State::Lost => None,
        }
    }

    /// Whether the engine takes an iteration now.
    pub(super) fn is_free(&self) -> bool {
        self.running().is_some_and(|running| running.busy_since.is_none())
    }

    /// Whether an iteration is running.
    pub(super) fn is_busy(&self) -> bool {
        self.running().is_some_and(|running| running.busy_since.is_some())
    }

    /// When [`Supervisor::poll`] will have something to say.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        if self.event == Event::None { self.stalls_at() } else { Some(Instant::now()) }
    }

    fn stalls_at(&self) -> Option<Instant> {
        self.running()?.busy_since?.checked_add(self.options.stall_timeout)
    }

    /// Hands an iteration over. If that fails, the engine is lost.
    pub(super) fn submit(&mut self, iteration: Iteration) -> Result<(), EngineError> {
        let State::Running(_, running) = &mut self.state else { return Ok(()) };
        running.busy_since = Some(Instant::now());
        running.engine.submit(iteration).inspect_err(|_| self.lose())
    }

    /// Whether there is an engine, busy or not.
    pub(super) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// Hands whole sequences over. If that fails, the engine is lost.
    pub(super) fn feed(&mut self, feed: Feed) -> Result<(), EngineError> {
        let State::Running(_, running) = &mut self.state else { return Ok(()) };
        if feed.sequences.is_empty() && feed.cancelled.is_empty() {
            return Ok(());
        }
        running.engine.feed(feed.sequences, &feed.cancelled).inspect_err(|_| self.lose())
    }

    /// An engine that was fed owes reports, or does not.
    pub(super) fn expect(&mut self, reports: bool) {
        if let State::Running(_, running) = &mut self.state {
            running.busy_since = reports.then(|| running.busy_since.unwrap_or_else(Instant::now));
        }
    }

    /// A report has come.
    pub(super) fn on_report(&mut self, report: &Report) {
        if let State::Running(_, running) = &mut self.state {
            running.busy_since = None;
        }
        match report {
            Ok(_) => self.failed_starts = 0,
            Err(_) => self.lose(),
        }
    }

    /// What has happened since the last call.
    pub(super) fn poll(&mut self) -> Event {
        if self.event == Event::None && self.stalls_at().is_some_and(|time| time <= Instant::now()) {
            self.let_go(true);
            return Event::Stalled(self.options.stall_timeout);
        }
        std::mem::replace(&mut self.event, Event::None)
    }

    /// Lets go of an engine that failed.
    pub(super) fn lose(&mut self) {
        self.let_go(false);
    }

    fn let_go(&mut self, stalled: bool) {
        let State::Running(factory, running) = std::mem::replace(&mut self.state, State::Lost) else {
            return;
        };
        match self.options.on_failure {
            OnFailure::Exit => {
                // Its thread may never end: the process does instead.
                std::mem::forget(running.engine);
                self.event = Event::GivenUp("the engine failed and the server is going away".into());
            }
            OnFailure::Restart if self.failed_starts >= self.options.restart_attempts => {
                self.event = Event::GivenUp("the engine fails whenever it is started".into());
            }
            OnFailure::Restart => self.start_again(factory, Some((running, stalled))),
        }
    }

    /// Starts the engine on a thread of its own, since that takes seconds.
    fn start_again(&mut self, mut factory: Box<dyn EngineFactory>, old: Option<(Running, bool)>) {
        let wait = match self.failed_starts {
            0 => Duration::ZERO,
            failed => self.options.restart_wait.saturating_mul(1 << (failed - 1).min(16)),
        };
        let (send, starts) = bounded(1);
        let spawned = std::thread::Builder::new().name("engine start".into()).spawn(move || {
            if let Some((old, stalled)) = old {
                dispose(old, stalled);
            }
            std::thread::sleep(wait);
            let (send_report, reports) = bounded(1);
            let started =
                factory.start(send_report).map(|engine| Running { engine, reports, busy_since: None });
            // Nobody reads it if the scheduler has ended meanwhile.
            let _ = send.send((factory, started));
        });
        match spawned {
            Ok(_) => (self.state, self.starts) = (State::Starting, starts),
            Err(error) => self.event = Event::GivenUp(format!("cannot start a thread: {error}")),
        }
    }

    /// A start has ended, well or not.
    pub(super) fn on_start(&mut self, started: Option<Started>) {
        self.starts = never();
        // Counted until a report shows that the engine works.
        self.failed_starts += 1;
        self.state = State::Lost;
        match started {
            Some((factory, Ok(running))) => {
                self.state = State::Running(factory, running);
                self.event = Event::Restarted;
            }
            Some((factory, Err(error))) if self.failed_starts < self.options.restart_attempts => {
                tracing::error!(%error, attempt = self.failed_starts, "the engine does not start");
                self.start_again(factory, None);
            }
            Some((_, Err(error))) => self.event = Event::GivenUp(error.to_string()),
            None => self.event = Event::GivenUp("the thread that starts the engine has ended".into()),
        }
    }
}

/// Drops an engine that is no longer used; one that stalled may never return from that.
fn dispose(old: Running, stalled: bool) {
    if stalled {
        let _ = std::thread::Builder::new().name("engine end".into()).spawn(move || drop(old));
    } else {
        drop(old);
    }
}
