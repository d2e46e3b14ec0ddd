//! An engine that fails, stalls or does not start, and clients that leave: who gets an error, and what is
//! served afterwards. The engine here does what the test says, when it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use assay::engine::simulated::{HashCache, expected_logits};
use assay::engine::{
    EngineError, EngineFactory, Iteration, LibraryError, Limits, PrefixSharing, QueueDepth, QueueEngine,
    QueueReport, SequenceId, StartEngine, StepEngine, StepError, StepReport,
};
use assay::sampling::SamplingCapabilities;
use assay::scheduler::{
    Handle, Job, Observer, OnFailure, Output, Priority, Rejection, SchedulerOptions, Ticket, Work, start,
};
use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

const LIMITS: Limits =
    Limits { max_seq_len: 64, max_batch_size: 2, max_num_tokens: 64, kv_blocks: 16, tokens_per_block: 8 };

/// The engine panics when it is handed a text of this token.
const PANICS: u32 = 666;

/// Longer than anything here takes, so that a mistake is an error and no hang.
const LONG: Duration = Duration::from_secs(30);

/// Starts engines as the test permits.
struct Factory {
    permits: Receiver<Result<(), EngineError>>,
    started: Sender<Running>,
}

type StepResult = Result<StepReport, StepError>;
type Fed = (Vec<(SequenceId, Job)>, Vec<SequenceId>);

/// The test's end of a running engine.
struct Running {
    iterations: Receiver<Iteration>,
    fed: Receiver<Fed>,
    reporter: Sender<StepResult>,
    /// While it is kept, dropping the engine does not return.
    holds: Option<Sender<()>>,
    cache: HashCache,
}

/// An engine of either kind, of which the test holds the strings.
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

/// A scheduler, and the strings of its engine.
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

    /// Fails the engine that runs in an iteration with one text, whose client gets the error.
    async fn lose_engine(&self) {
        let engine = self.engine();
        let lost = self.submit(1);
        engine.iteration();
        engine.fail("gone");
        assert_failed(lost, "gone").await;
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

#[tokio::test]
async fn an_engine_that_does_not_start_is_reported_at_once() {
    let (permits, permitted) = unbounded();
    let (starts, _started) = unbounded();
    permits.send(Err(no_start("no memory is left"))).unwrap();
    let factory = EngineFactory::step(Factory { permits: permitted, started: starts });
    let error = start(factory, SchedulerOptions::default(), Arc::new(())).err().unwrap();
    assert_eq!(error.to_string(), "cannot load engine: no memory is left");
}

#[tokio::test]
async fn a_failed_step_costs_what_it_computed_and_nothing_else() {
    let stage = Stage::set(quick());
    let first = stage.engine();
    let (one, twin) = (stage.submit(1), stage.submit(1));
    first.iteration();
    // The next iteration may be planned already; it has not begun.
    let waiting: Vec<_> = (2..5).map(|token| (token, stage.submit(token))).collect();
    first.fail("out of memory");
    assert_failed(one, "out of memory").await;
    assert_failed(twin, "out of memory").await;
    assert!(!stage.handle.ready());
    let meanwhile = stage.submit(5);
    let mut second = stage.permit();
    second.holds = None;
    let server = std::thread::spawn(move || {
        while let Ok(iteration) = second.iterations.recv() {
            second.answer(&iteration);
        }
    });
    for (token, ticket) in waiting {
        assert_served(ticket, token).await;
    }
    assert_served(meanwhile, 5).await;
    assert!(stage.handle.ready());
    assert_eq!(stage.counts.all(), (2, 1, 1), "each is refused once");
    drop(stage);
    server.join().unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_start_again_is_tried_again_while_requests_wait() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    let waiting = stage.submit(2);
    stage.refuse();
    stage.refuse();
    let mut engine = stage.permit();
    engine.serve(1);
    assert_served(waiting, 2).await;
    assert_eq!(stage.counts.all(), (1, 1, 1));
}

#[tokio::test]
async fn the_wait_between_attempts_doubles() {
    let stage = Stage::set(SchedulerOptions {
        restart_wait: Duration::from_millis(20),
        ..SchedulerOptions::default()
    });
    let first = stage.engine();
    let lost = stage.submit(1);
    first.iteration();
    let begun = Instant::now();
    first.fail("gone");
    assert_failed(lost, "gone").await;
    for _ in 0..3 {
        stage.refuse();
    }
    stage.permit();
    assert!(begun.elapsed() >= Duration::from_millis(20 + 40 + 80), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_engine_that_never_starts_again_is_given_up_and_everyone_hears() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 3, ..quick() });
    stage.lose_engine().await;
    let waiting = stage.submit(2);
    let twin = stage.submit(2);
    for _ in 0..3 {
        stage.refuse();
    }
    stage.handle.failed().await;
    assert_failed(waiting, "no memory is left").await;
    assert_failed(twin, "no memory is left").await;
    assert_failed(stage.submit(3), "no memory is left").await;
    assert!(!stage.handle.ready());
    stage.handle.drain();
    stage.handle.drained().await;
}

#[tokio::test]
async fn an_engine_that_starts_but_fails_whenever_it_computes_is_given_up() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 3, ..quick() });
    let mut engine = stage.engine();
    for attempt in 0..=3 {
        let ticket = stage.submit(attempt);
        engine.iteration();
        engine.fail("gone");
        assert_failed(ticket, "gone").await;
        if attempt == 3 {
            break;
        }
        engine = stage.permit();
    }
    stage.handle.failed().await;
    assert_failed(stage.submit(9), "fails whenever it is started").await;
    assert_eq!(stage.counts.all(), (5, 4, 3));
}

#[tokio::test]
async fn failures_with_work_done_between_them_do_not_add_up() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 2, ..quick() });
    let mut engine = stage.engine();
    for n in 0..6 {
        let good = stage.submit(n);
        engine.serve(1);
        assert_served(good, n).await;
        let bad = stage.submit(100 + n);
        engine.iteration();
        engine.fail("gone");
        assert_failed(bad, "gone").await;
        engine = stage.permit();
    }
    let last = stage.submit(50);
    engine.serve(1);
    assert_served(last, 50).await;
}

#[tokio::test]
async fn an_engine_that_leaves_out_logits_is_replaced() {
    let stage = Stage::set(quick());
    let mut first = stage.engine();
    first.holds = None;
    let lost = stage.submit(1);
    first.iteration();
    first.reporter.send(Ok(StepReport::default())).unwrap();
    assert_failed(lost, "returned no logits").await;
    let waiting = stage.submit(2);
    let mut second = stage.permit();
    second.serve(1);
    assert_served(waiting, 2).await;
}

#[tokio::test]
async fn an_engine_that_stalls_is_replaced_though_it_never_ends() {
    let stage = Stage::set(SchedulerOptions { stall_timeout: Duration::from_millis(50), ..quick() });
    let first = stage.engine();
    let lost = stage.submit(1);
    let iteration = first.iteration();
    assert_eq!(lost.await, Err(Rejection::EngineStalled(Duration::from_millis(50))));
    let waiting = stage.submit(2);
    let mut second = stage.permit();
    // Too late: nobody reads it, and nobody is answered with it.
    let logits = vec![(iteration.chunks[0].sequence, vec![7.0, 7.0])];
    let _ = first.reporter.try_send(Ok(StepReport { logits, ..StepReport::default() }));
    second.serve(1);
    assert_served(waiting, 2).await;
    drop(first.holds);
}

#[tokio::test]
async fn feeding_a_stalled_engine_does_not_postpone_its_timeout() {
    let stall_timeout = Duration::from_millis(300);
    let stage = Stage::set_queue(SchedulerOptions { stall_timeout, ..quick() });
    let engine = stage.engine();
    let begun = Instant::now();
    let first = stage.submit(0);
    engine.fed.recv_timeout(LONG).unwrap();
    let mut first = std::pin::pin!(first);
    let mut token = 0;
    // Clients come and leave until it is noticed.
    let answer = loop {
        assert!(begun.elapsed() < LONG, "the stall is never reported");
        token += 1;
        let _other = stage.submit(token);
        tokio::select! {
            answer = &mut first => break answer,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    };
    assert_eq!(answer, Err(Rejection::EngineStalled(stall_timeout)));
    drop(engine.holds);
}

#[tokio::test]
async fn on_sigterm_a_server_whose_engine_restarts_serves_what_waits_first() {
    let stage = Stage::set(quick());
    let first = stage.engine();
    let lost = stage.submit(1);
    first.iteration();
    let waiting = stage.submit(2);
    first.fail("gone");
    assert_failed(lost, "gone").await;
    stage.handle.drain();
    assert_eq!(stage.handle.submit(job(3), None).err(), Some(Rejection::ShuttingDown));
    let mut second = stage.permit();
    second.holds = None;
    second.serve(1);
    assert_served(waiting, 2).await;
    stage.handle.drained().await;
    assert!(!stage.handle.ready());
}

#[tokio::test]
async fn on_sigterm_a_server_does_not_wait_for_an_engine_that_never_starts() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 2, ..quick() });
    let first = stage.engine();
    let lost = stage.submit(1);
    first.iteration();
    let waiting = stage.submit(2);
    first.fail("gone");
    assert_failed(lost, "gone").await;
    stage.handle.drain();
    stage.refuse();
    stage.refuse();
    assert_failed(waiting, "no memory is left").await;
    stage.handle.drained().await;
}

#[tokio::test]
async fn a_server_with_nothing_left_to_do_ends_though_its_engine_is_being_started() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    stage.handle.drain();
    stage.handle.drained().await;
}

#[tokio::test]
async fn while_the_engine_starts_again_deadlines_and_clients_that_leave_are_heeded() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    let deadline = Some(Instant::now() + Duration::from_millis(30));
    let late = stage.handle.submit(job(2), deadline).unwrap();
    drop(stage.submit(3));
    assert_eq!(late.await, Err(Rejection::DeadlineExceeded));
    let wanted = stage.submit(4);
    let mut second = stage.permit();
    let iteration = second.iteration();
    assert_eq!(iteration.token_ids, [4; 30], "nobody wants the others any more");
    second.answer(&iteration);
    assert_served(wanted, 4).await;
}

#[tokio::test]
async fn the_scheduler_ends_with_its_last_handle() {
    let stage = Stage::set(quick());
    let mut engine = stage.engine();
    let other = stage.handle.clone();
    let ticket = stage.submit(1);
    engine.serve(1);
    assert_served(ticket, 1).await;
    engine.holds = None;
    let Stage { handle, counts, .. } = stage;
    drop(handle);
    assert!(other.ready());
    drop(other);
    let begun = Instant::now();
    while Arc::strong_count(&counts) > 1 {
        assert!(begun.elapsed() < LONG, "its thread goes on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn asked_to_end_with_the_engine_it_is_not_started_again() {
    let stage = Stage::set(SchedulerOptions { on_failure: OnFailure::Exit, ..quick() });
    let first = stage.engine();
    let lost = stage.submit(1);
    first.iteration();
    let waiting = stage.submit(2);
    first.fail("gone");
    assert_failed(lost, "gone").await;
    assert_failed(waiting, "going away").await;
    stage.handle.failed().await;
    assert_eq!(stage.counts.restarted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_engine_hears_at_once_of_a_client_that_left() {
    let stage = Stage::set_queue(quick());
    let engine = stage.engine();
    let ticket = stage.submit(1);
    let (fed, _) = engine.fed.recv_timeout(LONG / 2).unwrap();
    drop(ticket);
    assert_eq!(engine.fed.recv_timeout(LONG / 2).unwrap(), (Vec::new(), vec![fed[0].0]));
}

#[tokio::test]
async fn an_engine_hears_at_once_that_the_tokens_so_far_are_enough() {
    let stage = Stage::set_queue(quick());
    let engine = stage.engine();
    let ticket = stage.handle.submit(Job { work: Work::greedy(20, Vec::new()), ..job(1) }, None).unwrap();
    let (fed, _) = engine.fed.recv_timeout(LONG / 2).unwrap();
    ticket.finish();
    assert_eq!(engine.fed.recv_timeout(LONG / 2).unwrap(), (Vec::new(), vec![fed[0].0]));
}

#[tokio::test]
async fn a_panic_on_the_scheduler_s_thread_is_an_error_to_everyone_and_the_end_of_the_server() {
    let stage = Stage::set(quick());
    let mut engine = stage.engine();
    engine.holds = None;
    let lost = stage.submit(PANICS);
    assert_failed(lost, "the scheduler has ended").await;
    stage.handle.failed().await;
    assert!(!stage.handle.ready());
    assert_eq!(stage.handle.submit(job(2), None).err(), Some(Rejection::ShuttingDown));
}
