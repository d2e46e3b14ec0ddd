//! An engine that fails, stalls or does not start, and clients that leave: who gets an error, and what is
//! served afterwards. The engine here does what the test says, when it says so.

mod ended;
mod replaced;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assay::engine::simulated::{HashCache, expected_logits};
use assay::engine::{
    EngineError, EngineFactory, Iteration, LibraryError, Limits, PrefixSharing, QueueDepth, QueueEngine,
    QueueReport, SequenceId, StartEngine, StepEngine, StepError, StepReport,
};
use assay::sampling::SamplingCapabilities;
use assay::scheduler::{
    Handle, Job, Observer, Output, Priority, Rejection, SchedulerOptions, Ticket, Work, start,
};
use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

const LIMITS: Limits =
    Limits { max_seq_len: 64, max_batch_size: 2, max_num_tokens: 64, kv_blocks: 16, tokens_per_block: 8 };

/// The engine panics when it is handed a text of this token.
const PANICS: u32 = 666;

/// Longer than anything here takes, so that a mistake fails a test rather than hangs it.
const LONG: Duration = Duration::from_secs(300);

/// Starts an engine whenever the test permits it.
struct Factory {
    permits: Receiver<Result<(), EngineError>>,
    started: Sender<Running>,
}

type StepResult = Result<StepReport, StepError>;

type Fed = (Vec<(SequenceId, Job)>, Vec<SequenceId>);

/// What the test holds of a running engine.
struct Running {
    iterations: Receiver<Iteration>,
    fed: Receiver<Fed>,
    reporter: Sender<StepResult>,
    /// While it is kept, dropping the engine does not return.
    holds: Option<Sender<()>>,
    cache: HashCache,
}

/// A running engine of either kind, as the test controls it.
struct Puppet {
    iterations: Sender<Iteration>,
    feeds: Sender<Fed>,
    reports: Receiver<StepResult>,
    queue_reports: Receiver<Result<QueueReport, StepError>>,
    held: Receiver<()>,
}

impl Factory {
    fn start(&self) -> Result<Puppet, EngineError> {
        self.permits.recv_timeout(LONG).unwrap_or_else(|_| Err(no_start("the test is over")))?;
        let (iterations, given) = unbounded();
        let (feeds, fed) = unbounded();
        let (reporter, reports) = bounded(1);
        let (holds, held) = bounded(0);
        let cache = HashCache::new(LIMITS, 2);
        // The test may have ended and dropped the receiver.
        let _ = self.started.send(Running { iterations: given, fed, reporter, holds: Some(holds), cache });
        Ok(Puppet { iterations, feeds, reports, queue_reports: never(), held })
    }
}

impl StartEngine<dyn StepEngine> for Factory {
    fn start(&mut self) -> Result<Box<dyn StepEngine>, EngineError> {
        Ok(Box::new(Self::start(self)?))
    }
}

impl StartEngine<dyn QueueEngine> for Factory {
    fn start(&mut self) -> Result<Box<dyn QueueEngine>, EngineError> {
        Ok(Box::new(Self::start(self)?))
    }
}

impl StepEngine for Puppet {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn sharing(&self) -> PrefixSharing {
        PrefixSharing::WithinIteration
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), StepError> {
        assert_ne!(iteration.token_ids[0], PANICS, "as asked");
        self.iterations.send(iteration).map_err(|_| failure("it is gone"))
    }

    fn reports(&self) -> &Receiver<StepResult> {
        &self.reports
    }
}

impl QueueEngine for Puppet {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn depth(&self) -> QueueDepth {
        QueueDepth { reads: LIMITS.max_batch_size, tokens: LIMITS.max_num_tokens, logit_rows: usize::MAX }
    }

    fn capabilities(&self) -> SamplingCapabilities {
        SamplingCapabilities::ALL
    }

    fn feed(&mut self, jobs: Vec<(SequenceId, Job)>, cancelled: &[SequenceId]) -> Result<(), StepError> {
        self.feeds.send((jobs, cancelled.to_vec())).map_err(|_| failure("it is gone"))
    }

    fn reports(&self) -> &Receiver<Result<QueueReport, StepError>> {
        &self.queue_reports
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.held.recv_timeout(2 * LONG);
    }
}

impl Running {
    fn iteration(&self) -> Iteration {
        self.iterations.recv_timeout(LONG).unwrap()
    }

    fn answer(&mut self, iteration: &Iteration) {
        let logits = self.cache.run(iteration).unwrap();
        self.reporter.send(Ok(StepReport { logits, ..StepReport::default() })).unwrap();
    }

    /// Computes `iterations` iterations as they come.
    fn serve(&mut self, iterations: usize) {
        for _ in 0..iterations {
            let iteration = self.iteration();
            self.answer(&iteration);
        }
    }

    fn fail(self, reason: &str) {
        self.reporter.send(Err(failure(reason))).unwrap();
    }
}

fn failure(reason: &str) -> StepError {
    StepError::Library(LibraryError(reason.into()))
}

fn no_start(reason: &str) -> EngineError {
    EngineError::Library { directory: "engine".into(), source: LibraryError(reason.into()) }
}

/// How often what happened.
#[derive(Default)]
struct Counts {
    refused: AtomicUsize,
    failed: AtomicUsize,
    restarted: AtomicUsize,
}

impl Observer for Counts {
    fn rejected(&self, _: &Rejection) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }
    fn engine_failed(&self) {
        self.failed.fetch_add(1, Ordering::SeqCst);
    }
    fn engine_restarted(&self) {
        self.restarted.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counts {
    fn all(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.refused), count(&self.failed), count(&self.restarted))
    }
}

/// A scheduler, and control of its engine.
struct Stage {
    handle: Handle,
    permits: Sender<Result<(), EngineError>>,
    started: Receiver<Running>,
    counts: Arc<Counts>,
}

impl Stage {
    fn set(options: SchedulerOptions) -> Self {
        Self::with(EngineFactory::step, options)
    }

    /// A scheduler of an engine that batches for itself.
    fn set_queue(options: SchedulerOptions) -> Self {
        Self::with(EngineFactory::queue, options)
    }

    fn with(kind: impl FnOnce(Factory) -> EngineFactory, options: SchedulerOptions) -> Self {
        let (permits, permitted) = unbounded();
        let (starts, started) = unbounded();
        let counts = Arc::new(Counts::default());
        permits.send(Ok(())).unwrap();
        let factory = kind(Factory { permits: permitted, started: starts });
        let handle = start(factory, options, counts.clone()).unwrap();
        Self { handle, permits, started, counts }
    }

    fn engine(&self) -> Running {
        self.started.recv_timeout(LONG).unwrap()
    }

    fn permit(&self) -> Running {
        self.permits.send(Ok(())).unwrap();
        self.engine()
    }

    fn refuse(&self) {
        self.permits.send(Err(no_start("no memory is left"))).unwrap();
    }

    fn submit(&self, token: u32) -> Ticket {
        self.handle.submit(job(token), None).unwrap()
    }

    /// Makes the running engine fail in an iteration with one text, whose client gets the error.
    async fn lose_engine(&self) {
        self.lose_engine_after(|| ()).await;
    }

    /// The same, after something is done while that iteration runs.
    async fn lose_engine_after<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let engine = self.engine();
        let lost = self.submit(1);
        engine.iteration();
        let done = meanwhile();
        engine.fail("gone");
        assert_failed(lost, "gone").await;
        done
    }
}

fn quick() -> SchedulerOptions {
    SchedulerOptions { restart_wait: Duration::from_millis(1), ..SchedulerOptions::default() }
}

/// A text of 30 tokens, so that two fill an iteration.
fn job(token: u32) -> Job {
    Job { tokens: [token; 30].into(), work: Work::score(30), priority: Priority(0) }
}

async fn assert_served(ticket: Ticket, token: u32) {
    assert_eq!(ticket.await.unwrap().output, Output::Logits(expected_logits(&[token; 30], 2).into()));
}

async fn assert_failed(ticket: Ticket, reason: &str) {
    match ticket.await {
        Err(Rejection::EngineFailed(failure)) => {
            assert!(failure.to_string().contains(reason), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}
