//! The one thread that owns the core and the engine.
//!
//! It sleeps until something comes: work, a report, an engine that was started again, or a moment
//! that the core asked for. When a report comes, the iteration prepared meanwhile is submitted
//! first, and the answers go out while it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select};
use tokio::sync::{oneshot, watch};

use super::core::{Arrival, Core, JobId};
use super::handle::{Answer, Envelope, Handle, Shared, Signal};
use super::mailbox::Mailbox;
use super::supervisor::{Event, Supervisor};
use super::{Job, Observer, Options, Rejection};
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
        ready: true.into(),
        retry_after: 1000.into(),
        limits: engine.limits(),
        max_queue_requests: options.max_queue_requests,
        drained: watch::Sender::new(false),
        failed: watch::Sender::new(false),
    });
    let core = Core::new(engine.limits(), engine.sharing(), options.clone(), observer.clone());
    let thread = Thread {
        core,
        supervisor: Supervisor::new(factory, engine, reports, options),
        replies: HashMap::new(),
        shared: shared.clone(),
        observer,
        origin: Instant::now(),
        draining: false,
    };
    std::thread::Builder::new()
        .name("scheduler".into())
        .spawn(move || thread.run(&woken))
        .map_err(|error| EngineError::Load(format!("cannot start the scheduler's thread: {error}")))?;
    Ok(Handle::new(shared))
}

struct Thread {
    core: Core,
    supervisor: Supervisor,
    replies: HashMap<JobId, oneshot::Sender<Answer>>,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    origin: Instant,
    /// Nothing more arrives.
    draining: bool,
}

impl Thread {
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            self.wait(woken);
            self.read_mailbox();
            self.core.expire(self.now());
            self.advance();
            self.send_answers();
            self.core.observe();
            if self.draining && self.core.is_idle() {
                break;
            }
        }
        self.shared.ready.store(false, Ordering::Release);
        self.shared.drained.send_replace(true);
    }

    /// Sleeps until there is something to do, and takes in what the engine has to say.
    fn wait(&mut self, woken: &Receiver<()>) {
        let wakeup = [self.core.next_wakeup().map(|time| self.origin + time), self.supervisor.next_wakeup()];
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
        let result = report.and_then(|outputs| self.core.complete(self.now(), outputs));
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
        self.core.fail(&rejection);
    }

    fn read_mailbox(&mut self) {
        let batch = self.shared.mailbox.take();
        self.draining = batch.draining;
        for (id, envelope) in batch.arrivals {
            self.accept(id, envelope);
        }
        for id in batch.cancelled {
            if self.replies.remove(&id).is_some() {
                self.core.cancel(id);
            }
        }
    }

    fn accept(&mut self, id: JobId, Envelope { job, arrived, reply }: Envelope) {
        self.replies.insert(id, reply);
        let origin = self.origin;
        let since = |instant: Instant| instant.saturating_duration_since(origin);
        let Job { tokens, work, priority, deadline } = job;
        let arrival = Arrival { id, tokens, work, priority, deadline: deadline.map(since) };
        self.core.arrive(since(arrived), arrival);
    }

    /// Starts the next iteration if the engine is free, else prepares it; sees to a lost engine.
    fn advance(&mut self) {
        match self.supervisor.poll() {
            Event::None => {}
            Event::Stalled(after) => self.fail(Rejection::EngineStalled(after)),
            Event::Restarted => {
                self.shared.ready.store(true, Ordering::Release);
                self.observer.engine_restarted();
            }
            Event::GivenUp(reason) => {
                self.core.close(&Rejection::EngineFailed(reason));
                self.shared.failed.send_replace(true);
            }
        }
        if self.supervisor.is_free()
            && let Some(iteration) = self.core.plan(self.now())
            && let Err(error) = self.supervisor.submit(iteration)
        {
            self.fail(Rejection::EngineFailed(error.to_string()));
        }
        if self.supervisor.is_busy() {
            self.core.prepare(self.now());
        }
    }

    fn send_answers(&mut self) {
        for (id, answer) in self.core.take_answers() {
            if let Some(reply) = self.replies.remove(&id) {
                // The client may have left since.
                let _ = reply.send(answer);
            }
        }
        let retry_after = self.core.retry_after().as_millis().try_into().unwrap_or(u64::MAX);
        self.shared.retry_after.store(retry_after, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

fn engine_gone() -> EngineError {
    EngineError::Step("its thread has ended".into())
}
