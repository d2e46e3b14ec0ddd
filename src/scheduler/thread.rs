//! The one thread that owns the core and the engine.
//!
//! It sleeps until something happens: a job arrives, the engine reports, an engine was started again, or a time
//! comes that the core asked for. When a report comes, the iteration prepared meanwhile is submitted
//! first, and the answers go out while it runs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select};
use tokio::sync::watch;

use super::core::{QueueCore, StepCore};
use super::dispatcher::Dispatcher;
use super::drive::Drive;
use super::handle::{Handle, ReplySender, Shared, Signal};
use super::mailbox::Mailbox;
use super::supervisor::{Event, Supervisor};
use super::{EngineFailure, Observer, Rejection, SchedulerOptions};
use crate::engine::{EngineError, EngineFactory, Limits, StepError};
use crate::sampling::SamplingCapabilities;

/// Starts the engine, then a thread that schedules work on it.
///
/// # Errors
/// The engine does not start.
pub fn start(
    factory: EngineFactory,
    options: SchedulerOptions,
    observer: Arc<dyn Observer>,
) -> Result<Handle, EngineError> {
    let max_queue_requests = options.max_queue_requests;
    match factory {
        EngineFactory::Step(mut factory) => {
            let engine = factory.start()?;
            let limits = engine.limits();
            let mut core = StepCore::new(limits, engine.sharing(), options.clone(), observer.clone());
            core.set_max_cached_blocks(engine.max_cached_blocks());
            core.set_length_classes(engine.length_classes());
            let supervisor = Supervisor::new(factory, engine, options);
            spawn(core, supervisor, limits, SamplingCapabilities::ALL, max_queue_requests, observer)
        }
        EngineFactory::Queue(mut factory) => {
            let engine = factory.start()?;
            let (limits, capabilities) = (engine.limits(), engine.capabilities());
            let core = QueueCore::new(limits, engine.depth(), options.clone(), observer.clone());
            let supervisor = Supervisor::new(factory, engine, options);
            spawn(core, supervisor, limits, capabilities, max_queue_requests, observer)
        }
    }
}

fn spawn<C: Drive + Send + 'static>(
    core: C,
    supervisor: Supervisor<C::Engine>,
    limits: Limits,
    capabilities: SamplingCapabilities,
    max_queue_requests: usize,
    observer: Arc<dyn Observer>,
) -> Result<Handle, EngineError> {
    let (wake, woken) = bounded(1);
    let shared = Arc::new(Shared {
        mailbox: Mailbox::new(max_queue_requests, Signal(wake)),
        origin: Instant::now(),
        ready: true.into(),
        abandoned: false.into(),
        retry_after: 1000.into(),
        admission: Mutex::new(core.admission(Duration::ZERO)),
        limits,
        capabilities,
        max_queue_requests,
        drained: watch::Sender::new(false),
        failed: watch::Sender::new(false),
    });
    let thread = Thread { dispatcher: Dispatcher::new(core), supervisor, shared: shared.clone(), observer };
    std::thread::Builder::new()
        .name("scheduler".into())
        .spawn(move || thread.run(&woken))
        .map_err(|source| EngineError::Thread { thread: "scheduler", source })?;
    Ok(Handle::new(shared))
}

struct Thread<C: Drive> {
    dispatcher: Dispatcher<C, ReplySender>,
    supervisor: Supervisor<C::Engine>,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
}

/// Ends the scheduler for its clients when its thread ends, even by a panic: nothing waits forever.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.ready.store(false, Ordering::Release);
        if std::thread::panicking() {
            tracing::error!("the scheduler's thread has panicked; its requests are lost");
            shared.mailbox.drain();
            // Their replies go with them, which their tickets notice.
            drop(shared.mailbox.take());
            shared.failed.send_replace(true);
        }
    }
}

impl<C: Drive> Thread<C> {
    fn run(mut self, woken: &Receiver<()>) {
        let ended = Ended(self.shared.clone());
        loop {
            self.wait(woken);
            self.dispatcher.read(&self.shared.mailbox);
            if self.is_abandoned() {
                self.dispatcher.core.close(&Rejection::ShuttingDown);
            }
            self.dispatcher.core.expire(self.now());
            self.advance();
            self.send_answers();
            let now = self.now();
            self.dispatcher.core.plan_ahead(now, &self.supervisor);
            self.send_answers();
            self.dispatcher.core.observe();
            if self.dispatcher.is_done() {
                break;
            }
        }
        drop(ended);
        if self.is_abandoned() {
            // It may never end: the process does instead.
            std::mem::forget(self.supervisor);
        } else {
            // Before the process ends, since an engine's other ranks end with it.
            drop(self.supervisor);
        }
        self.shared.drained.send_replace(true);
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }

    /// Sleeps until there is something to do, and takes in what the engine reports.
    fn wait(&mut self, woken: &Receiver<()>) {
        let wakeup = [
            self.dispatcher.core.next_wakeup().and_then(|time| self.shared.origin.checked_add(time)),
            self.supervisor.next_wakeup(),
        ];
        let timer = wakeup.into_iter().flatten().min().map_or_else(never, at);
        let no_engine = never();
        let reports = self.supervisor.engine().map_or(&no_engine, C::reports);
        select! {
            recv(woken) -> _ => {}
            recv(reports) -> report => {
                self.on_report(report.unwrap_or(Err(StepError::Ended)));
            }
            recv(self.supervisor.starts()) -> started => self.supervisor.on_start(started.ok()),
            recv(timer) -> _ => {}
        }
    }

    fn on_report(&mut self, report: Result<C::Report, StepError>) {
        self.supervisor.on_report(&report);
        let now = self.now();
        if let Err(error) = report.and_then(|report| self.dispatcher.core.take_report(now, report)) {
            self.supervisor.lose();
            self.lose_engine(&EngineFailure::Step(error).into());
        }
    }

    /// Answers what was in flight. The supervisor has let go of the engine already.
    fn lose_engine(&mut self, rejection: &Rejection) {
        tracing::error!(%rejection, "the engine is lost");
        self.shared.ready.store(false, Ordering::Release);
        self.observer.engine_failed();
        self.dispatcher.core.lose_engine(rejection);
    }

    /// Deals with a lost engine, and gives a running one what it can start now.
    fn advance(&mut self) {
        match self.supervisor.poll() {
            Event::None => {}
            Event::Stalled(after) => self.lose_engine(&Rejection::EngineStalled(after)),
            Event::Restarted => {
                self.shared.ready.store(true, Ordering::Release);
                self.observer.engine_restarted();
            }
            Event::GivenUp(reason) => {
                self.dispatcher.core.close(&EngineFailure::GivenUp(reason).into());
                self.shared.failed.send_replace(true);
            }
        }
        let now = self.now();
        if let Err(error) = self.dispatcher.core.supply(now, &mut self.supervisor) {
            self.lose_engine(&EngineFailure::Step(error).into());
        }
    }

    fn send_answers(&mut self) {
        self.dispatcher.send_answers();
        let now = self.now();
        let retry_after = self.dispatcher.core.retry_after(now).as_millis().try_into().unwrap_or(u64::MAX);
        self.shared.retry_after.store(retry_after, Ordering::Relaxed);
        let admission = self.dispatcher.core.admission(now);
        *self.shared.admission.lock().unwrap_or_else(PoisonError::into_inner) = admission;
    }

    fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }
}
