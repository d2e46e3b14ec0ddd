//! Watches over the engine: hands it work, notices that it failed or stalled, starts it again.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never};

use super::core::Feed;
use super::{OnFailure, SchedulerOptions};
use crate::engine::{EngineError, Iteration, QueueEngine, StartEngine, StepEngine, StepError};

/// What happened to the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    None,
    /// No report came for this long with work in flight.
    Stalled(Duration),
    /// It runs again, with nothing cached.
    Restarted,
    /// It will not run again, for this reason.
    GivenUp(String),
}

/// What a thread that starts the engine hands back.
pub(super) type Started<E> = (Box<dyn StartEngine<E>>, Result<Box<E>, EngineError>);

struct Running<E: ?Sized> {
    engine: Box<E>,
    /// Since when the engine has owed a report; `None` if it owes none.
    busy_since: Option<Instant>,
}

enum State<E: ?Sized> {
    Running(Box<dyn StartEngine<E>>, Running<E>),
    Starting,
    Lost,
}

pub(super) struct Supervisor<E: ?Sized> {
    options: SchedulerOptions,
    state: State<E>,
    /// Never has anything unless an engine is being started.
    starts: Receiver<Started<E>>,
    /// Starts that failed since the engine last gave a report.
    failed_starts: u32,
    event: Event,
}

impl<E: ?Sized + Send + 'static> Supervisor<E> {
    pub(super) fn new(factory: Box<dyn StartEngine<E>>, engine: Box<E>, options: SchedulerOptions) -> Self {
        Self {
            options,
            state: State::Running(factory, Running { engine, busy_since: None }),
            starts: never(),
            failed_starts: 0,
            event: Event::None,
        }
    }

    /// The engine, unless it is lost or being started.
    pub(super) fn engine(&self) -> Option<&E> {
        self.running().map(|running| &*running.engine)
    }

    /// Delivers the engine when it was started again.
    pub(super) fn starts(&self) -> &Receiver<Started<E>> {
        &self.starts
    }

    fn running(&self) -> Option<&Running<E>> {
        match &self.state {
            State::Running(_, running) => Some(running),
            State::Starting | State::Lost => None,
        }
    }

    /// Whether there is an engine, busy or not.
    pub(super) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// Whether the engine runs and owes no report.
    pub(super) fn is_free(&self) -> bool {
        self.running().is_some_and(|running| running.busy_since.is_none())
    }

    /// Whether the engine owes a report.
    pub(super) fn is_busy(&self) -> bool {
        self.running().is_some_and(|running| running.busy_since.is_some())
    }

    /// When [`Supervisor::poll`] will have something to report.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        if self.event == Event::None { self.stalls_at() } else { Some(Instant::now()) }
    }

    fn stalls_at(&self) -> Option<Instant> {
        self.running()?.busy_since?.checked_add(self.options.stall_timeout)
    }

    /// Records whether the engine owes reports. If it owes one, it must send one within the stall timeout.
    pub(super) fn expect_reports(&mut self, owed: bool) {
        if let State::Running(_, running) = &mut self.state {
            running.busy_since = owed.then(|| running.busy_since.unwrap_or_else(Instant::now));
        }
    }

    /// A report has come.
    pub(super) fn on_report<R>(&mut self, report: &Result<R, StepError>) {
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
                self.event = Event::GivenUp("the engine failed and the server is shutting down".into());
            }
            OnFailure::Restart if self.failed_starts >= self.options.restart_attempts => {
                self.event = Event::GivenUp("the engine fails whenever it is started".into());
            }
            OnFailure::Restart => self.start_again(factory, Some((running.engine, stalled))),
        }
    }

    /// Starts the engine on a thread of its own, since that takes seconds.
    fn start_again(&mut self, mut factory: Box<dyn StartEngine<E>>, old: Option<(Box<E>, bool)>) {
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
            let started = factory.start();
            // Nobody reads it if the scheduler has ended meanwhile.
            let _ = send.send((factory, started));
        });
        match spawned {
            Ok(_) => (self.state, self.starts) = (State::Starting, starts),
            Err(error) => self.event = Event::GivenUp(format!("cannot start a thread: {error}")),
        }
    }

    /// A start has ended, successfully or not.
    pub(super) fn on_start(&mut self, started: Option<Started<E>>) {
        self.starts = never();
        // Counted until a report shows that the engine works.
        self.failed_starts += 1;
        self.state = State::Lost;
        match started {
            Some((factory, Ok(engine))) => {
                self.state = State::Running(factory, Running { engine, busy_since: None });
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

impl Supervisor<dyn StepEngine> {
    /// Hands an iteration over. If that fails, the engine is lost.
    pub(super) fn submit(&mut self, iteration: Iteration) -> Result<(), StepError> {
        let State::Running(_, running) = &mut self.state else { return Err(StepError::NotRunning) };
        running.busy_since = Some(Instant::now());
        running.engine.submit(iteration).inspect_err(|_| self.lose())
    }
}

impl Supervisor<dyn QueueEngine> {
    /// Hands whole sequences over. If that fails, the engine is lost.
    pub(super) fn feed(&mut self, feed: Feed) -> Result<(), StepError> {
        let State::Running(_, running) = &mut self.state else { return Err(StepError::NotRunning) };
        if feed.jobs.is_empty() && feed.cancelled.is_empty() {
            return Ok(());
        }
        running.engine.feed(feed.jobs, &feed.cancelled).inspect_err(|_| self.lose())
    }
}

/// Drops an engine that is no longer used; one that stalled may never return from that.
fn dispose<E: ?Sized + Send + 'static>(old: Box<E>, stalled: bool) {
    if stalled {
        let _ = std::thread::Builder::new().name("engine end".into()).spawn(move || drop(old));
    } else {
        drop(old);
    }
}
