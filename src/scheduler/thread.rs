//! The one thread that owns the core and the engine.
//!
//! It sleeps until something comes: work, a report, an engine that was started again, or a moment
//! that the core asked for. When a report comes, the iteration prepared meanwhile is submitted
//! first, and the answers go out while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select};
use tokio::sync::watch;

use super::core::Core;
use super::desk::Desk;
use super::handle::{Handle, Outbox, Shared, Signal};
use super::mailbox::Mailbox;
use super::supervisor::{Event, Supervisor};
use super::{Observer, Options, Rejection};
use crate::engine::{EngineError, EngineFactory, Report};

/// Starts the engine, then a thread that schedules work on it.
///
/// # Errors
/// The engine does not start.
pub fn start(
    mut factory: Box<dyn EngineFactory>,
    options: Options,
    observer: Arc<dyn Observer>,
) -> Result<Handle, EngineError> {
    let (send_report, reports) = bounded(1);
    let engine = factory.start(send_report)?;
    let (wake, woken) = bounded(1);
    let shared = Arc::new(Shared {
        mailbox: Mailbox::new(options.max_queue_requests, Signal(wake)),
        origin: Instant::now(),
        ready: true.into(),
        abandoned: false.into(),
        retry_after: 1000.into(),
        limits: engine.limits(),
        reach: engine.reach(),
        max_queue_requests: options.max_queue_requests,
        drained: watch::Sender::new(false),
        failed: watch::Sender::new(false),
    });
    let mut core = Core::new(engine.limits(), engine.sharing(), options.clone(), observer.clone());
    core.keep_at_most(engine.kept_blocks());
    let thread = Thread {
        desk: Desk::new(core),
        supervisor: Supervisor::new(factory, engine, reports, options),
        shared: shared.clone(),
        observer,
    };
    std::thread::Builder::new()
        .name("scheduler".into())
        .spawn(move || thread.run(&woken))
        .map_err(|error| EngineError::Load(format!("cannot start the scheduler's thread: {error}")))?;
    Ok(Handle::new(shared))
}

struct Thread {
    desk: Desk<Outbox>,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
}

impl Thread {
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            self.wait(woken);
            self.desk.read(&self.shared.mailbox);
            if self.is_abandoned() {
                self.desk.core.close(&Rejection::ShuttingDown);
            }
            self.desk.core.expire(self.now());
            self.advance();
            self.send_answers();
            self.prepare();
            self.send_answers();
            self.desk.core.observe();
            if self.desk.is_done() {
                break;
            }
        }
        self.shared.ready.store(false, Ordering::Release);
        match self.is_abandoned() {
            // It may never end: the process does instead.
            true => std::mem::forget(self.supervisor),
            // Before the process ends, since an engine's other ranks end with it.
            false => drop(self.supervisor),
        }
        self.shared.drained.send_replace(true);
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }

    /// Sleeps until there is something to do, and takes in what the engine has to say.
    fn wait(&mut self, woken: &Receiver<()>) {
        let wakeup = [
            self.desk.core.next_wakeup().and_then(|time| self.shared.origin.checked_add(time)),
            self.supervisor.next_wakeup(),
        ];
        let timer = wakeup.into_iter().flatten().min().map_or_else(never, at);
        select! {
            recv(woken) -> _ => {}
            recv(self.supervisor.reports()) -> report => self.on_report(report.unwrap_or_else(|_| Err(engine_gone()))),
            recv(self.supervisor.starts()) -> started => self.supervisor.on_start(started.ok()),
            recv(timer) -> _ => {}
        }
    }

    fn on_report(&mut self, report: Report) {
        self.supervisor.on_report(&report);
        let now = self.now();
        let core = &mut self.desk.core;
        let result = report.and_then(|outputs| {
            if core.is_fed() { core.take_in(now, outputs) } else { core.complete(now, outputs) }
        });
        if let Err(error) = result {
            self.supervisor.lose();
            self.fail(Rejection::EngineFailed(error.to_string()));
        }
    }

    /// Answers what was in flight. The supervisor has let go of the engine already.
    fn fail(&mut self, rejection: Rejection) {
        tracing::error!(%rejection, "the engine is lost");
        self.shared.ready.store(false, Ordering::Release);
        self.observer.engine_failed();
        self.desk.core.fail(&rejection);
    }

    /// Sees to a lost engine, and starts the next iteration if the engine is free.
    fn advance(&mut self) {
        match self.supervisor.poll() {
            Event::None => {}
            Event::Stalled(after) => self.fail(Rejection::EngineStalled(after)),
            Event::Restarted => {
                self.shared.ready.store(true, Ordering::Release);
                self.observer.engine_restarted();
            }
            Event::GivenUp(reason) => {
                self.desk.core.close(&Rejection::EngineFailed(reason));
                self.shared.failed.send_replace(true);
            }
        }
        if let Err(error) = self.supply() {
            self.fail(Rejection::EngineFailed(error.to_string()));
        }
    }

    /// Gives the engine what it can begin now.
    fn supply(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        let core = &mut self.desk.core;
        if core.is_fed() {
            if self.supervisor.is_running() {
                self.supervisor.feed(core.feed(now))?;
                self.supervisor.expect(core.is_awaiting());
            }
        } else if self.supervisor.is_free()
            && let Some(iteration) = core.plan(now)
        {
            self.supervisor.submit(iteration)?;
        }
        Ok(())
    }

    /// Plans ahead while an iteration runs.
    fn prepare(&mut self) {
        if self.supervisor.is_busy() && !self.desk.core.is_fed() {
            self.desk.core.prepare(self.now());
        }
    }

    fn send_answers(&mut self) {
        self.desk.send_answers();
        let retry_after = self.desk.core.retry_after().as_millis().try_into().unwrap_or(u64::MAX);
        self.shared.retry_after.store(retry_after, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }
}

fn engine_gone() -> EngineError {
    EngineError::Step("its thread has ended".into())
}
