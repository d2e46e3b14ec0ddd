//! A running engine: the scheduler's side, and the thread that reports the progress of sequences.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use cxx::SharedPtr;

use super::batch::Batch;
use super::clock::Clock;
use super::fan_out::{FanOut, Progress, RequestId};
use crate::engine::bridge::ffi;
use crate::engine::{
    Generated, IterationStatistics, Job, LibraryError, Limits, QueueDepth, QueueEngine, QueueReport,
    SequenceError, SequenceId, StepError, Work,
};
use crate::reward::HeadLayers;
use crate::sampling::{Sampled, SamplingCapabilities};

/// How long to wait for the library before checking whether the engine should stop.
pub(super) const AWAIT: Duration = Duration::from_millis(250);

/// An engine that the library has loaded.
pub(super) struct Loaded {
    pub(super) executor: SharedPtr<ffi::TrtllmExecutor>,
    pub(super) limits: Limits,
    pub(super) depth: QueueDepth,
    pub(super) capabilities: SamplingCapabilities,
    /// The layers of a scoring head above the first.
    pub(super) head: Arc<HeadLayers>,
    /// Logits of a generated token, if it generates.
    pub(super) vocabulary: usize,
    /// Token ids of prompts are below this.
    pub(super) prompt_vocabulary: usize,
    /// How long the library may have a sequence.
    pub(super) allotted: Option<Duration>,
}

type Report = Result<QueueReport, StepError>;

/// Starts the reporting thread; returns the scheduler's side.
pub(super) fn start(loaded: Loaded) -> io::Result<TrtllmEngine> {
    let Loaded { executor, limits, depth, capabilities, head, vocabulary, prompt_vocabulary, allotted } =
        loaded;
    let (fed, feeds) = bounded(1);
    let (reporter, reports) = bounded(1);
    let shared = Arc::new(Shared {
        executor,
        fan_out: Mutex::default(),
        rejected: Mutex::default(),
        logprobs: Mutex::default(),
        clock: Mutex::new(Clock::new(allotted)),
        ending: false.into(),
    });
    let tokens_per_block = limits.tokens_per_block;
    let awaiting = Awaiting { shared: shared.clone(), feeds, reporter, head, vocabulary, tokens_per_block };
    let thread = thread::Builder::new().name("trtllm-await".into()).spawn(move || awaiting.serve())?;
    let fed = Some(fed);
    let thread = Some(thread);
    Ok(TrtllmEngine { shared, limits, depth, capabilities, prompt_vocabulary, fed, thread, reports })
}

/// Milliseconds, for the library.
pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Sequences, and why each failed.
type Failures = Vec<(SequenceId, SequenceError)>;

/// The state that the scheduler's side and the awaiting thread share.
struct Shared {
    executor: SharedPtr<ffi::TrtllmExecutor>,
    /// The sequences that the library has, as requests to it.
    fan_out: Mutex<FanOut>,
    /// Sequences that the library refused, which are reported as failed.
    rejected: Mutex<Failures>,
    /// For sequences with log-probabilities, the number of likeliest tokens to report in addition.
    logprobs: Mutex<HashMap<SequenceId, usize>>,
    /// When sequences must have ended.
    clock: Mutex<Clock>,
    ending: AtomicBool,
}

impl Shared {
    fn rejected(&self) -> MutexGuard<'_, Failures> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fan_out(&self) -> MutexGuard<'_, FanOut> {
        self.fan_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logprobs(&self) -> MutexGuard<'_, HashMap<SequenceId, usize>> {
        self.logprobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, requests: &[RequestId]) -> Result<(), cxx::Exception> {
        requests.iter().try_for_each(|&request| self.executor.cancel(request))
    }
}

/// The scheduler's end of a running engine.
pub(super) struct TrtllmEngine {
    shared: Arc<Shared>,
    limits: Limits,
    depth: QueueDepth,
    capabilities: SamplingCapabilities,
    prompt_vocabulary: usize,
    /// Wakes the awaiting thread, which ends when this is closed.
    fed: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    reports: Receiver<Report>,
}

impl QueueEngine for TrtllmEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn depth(&self) -> QueueDepth {
        self.depth
    }

    fn capabilities(&self) -> SamplingCapabilities {
        self.capabilities
    }

    fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    fn feed(&mut self, jobs: Vec<(SequenceId, Job)>, cancelled: &[SequenceId]) -> Result<(), StepError> {
        for &id in cancelled {
            let requests = self.shared.fan_out().pending(id);
            self.shared.cancel(&requests).map_err(LibraryError::from)?;
        }
        let mut batch = Batch::default();
        for (id, job) in &jobs {
            if let Err(reason) = self.check(job) {
                self.shared.rejected().push((*id, reason));
                continue;
            }
            // Recorded before it is submitted, so that even an immediate answer finds it.
            if let Work::Generate(sampling) = &job.work
                && let Some(count) = sampling.logprobs
            {
                self.shared.logprobs().insert(*id, count);
            }
            self.shared.clock().start(*id, Instant::now());
            batch.push(&self.shared.fan_out().split(*id, job), job);
        }
        if let Err(error) = self.shared.executor.enqueue(&batch.sequences, &batch.token_ids) {
            let reason = LibraryError::from(error);
            let mut fan_out = self.shared.fan_out();
            for id in batch.sequences.iter().filter_map(|request| fan_out.forget(request.id)) {
                self.shared.logprobs().remove(&id);
                self.shared.clock().end(id);
                self.shared.rejected().push((id, SequenceError::Library(reason.clone())));
            }
        }
        match self.fed.as_ref().ok_or(StepError::Ended)?.try_send(()) {
            // Its last report says why the thread ended.
            Err(error) if error.is_disconnected() => {
                Err(self.reports.try_iter().find_map(Result::err).unwrap_or(StepError::Ended))
            }
            // If the channel is full, the thread will look anyway.
            _ => Ok(()),
        }
    }
}

impl TrtllmEngine {
    /// Checks that the library can do what a job asks for.
    fn check(&self, job: &Job) -> Result<(), SequenceError> {
        // The library would read beyond the embedding, and the fault would end every sequence in flight.
        let vocabulary = self.prompt_vocabulary;
        if let Some(&token) = job.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(SequenceError::UnknownToken { token, vocabulary });
        }
        match &job.work {
            Work::Score { read } if read.last().is_none_or(|&last| last >= job.tokens.len()) => {
                Err(SequenceError::Unreadable)
            }
            Work::Score { .. } => Ok(()),
            Work::Generate(sampling) => Ok(self.capabilities.check(sampling)?),
        }
    }
}

impl Drop for TrtllmEngine {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.fed = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, the scheduler noticed that the channel of reports closed.
            let _ = thread.join();
        }
    }
}

/// The side of the thread that awaits the library's answers.
struct Awaiting {
    shared: Arc<Shared>,
    feeds: Receiver<()>,
    reporter: Sender<Report>,
    head: Arc<HeadLayers>,
    vocabulary: usize,
    tokens_per_block: usize,
}

impl Awaiting {
    fn serve(self) {
        if let Err(error) = self.report_all() {
            self.send(Err(LibraryError::from(error).into()));
        }
        if let Err(error) = self.shared.executor.shutdown() {
            tracing::warn!(%error, "TensorRT-LLM did not shut down in order");
        }
    }

    /// Reports the progress of sequences until the engine stops and nothing is in flight.
    fn report_all(&self) -> Result<(), cxx::Exception> {
        let executor = &self.shared.executor;
        let mut cancelled = false;
        loop {
            let failed = std::mem::take(&mut *self.shared.rejected());
            let mut report = QueueReport { failed, ..QueueReport::default() };
            if report.failed.is_empty() {
                if executor.in_flight()? == 0 {
                    match self.feeds.recv() {
                        Ok(()) => continue,
                        Err(_) => return Ok(()),
                    }
                }
                // Nobody reads the answers any more: stop early, but cleanly.
                if self.shared.ending.load(Ordering::Acquire) && !cancelled {
                    cancelled = true;
                    executor.cancel_all()?;
                }
                let expired = self.shared.clock().expire(Instant::now());
                for sequence in expired {
                    let requests = self.shared.fan_out().pending(sequence);
                    self.shared.cancel(&requests)?;
                }
                let wait = self.shared.clock().next(Instant::now()).map_or(AWAIT, |left| left.min(AWAIT));
                let answers = executor.await_answers(millis(wait).max(1))?;
                if answers.is_empty() {
                    continue;
                }
                for answer in answers {
                    self.take(answer, &mut report)?;
                }
                report.statistics = statistics(&executor.statistics()?);
            }
            self.send(Ok(report));
        }
    }

    fn take(&self, answer: ffi::TrtllmAnswer, report: &mut QueueReport) -> Result<(), cxx::Exception> {
        let Some(sequence) = self.shared.fan_out().sequence_of(answer.id) else { return Ok(()) };
        let (last, failed) =
            (answer.state != ffi::TrtllmState::Running, answer.state == ffi::TrtllmState::Failed);
        if !failed && !answer.scored {
            let tokens = self.sampled(sequence, &answer);
            report.generated.push(Generated { sequence, tokens, last });
        }
        if !last {
            return Ok(());
        }
        self.shared.logprobs().remove(&sequence);
        let logits = match (failed, answer.scored) {
            (true, _) if self.shared.clock().has_expired(sequence) => Err(SequenceError::Expired),
            (true, _) => Err(LibraryError(answer.error).into()),
            (false, true) => Ok(self.head.apply(answer.logits)),
            (false, false) => Ok(vec![]),
        };
        let cached = answer.reused_blocks * self.tokens_per_block;
        let progress = self.shared.fan_out().end(answer.id, logits, cached);
        match progress {
            Progress::Pending => {}
            Progress::Doomed(requests) => self.shared.cancel(&requests)?,
            Progress::Done(done) => {
                self.shared.clock().end(sequence);
                if done.cached > 0 {
                    report.cached.push((sequence, done.cached));
                }
                match done.logits {
                    Err(reason) => report.failed.push((sequence, reason)),
                    Ok(logits) if !logits.is_empty() => report.scored.push((sequence, logits)),
                    // It generated.
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Generated tokens, with log-probabilities if they are wanted. An end token that the library left out
    /// has none.
    fn sampled(&self, sequence: SequenceId, answer: &ffi::TrtllmAnswer) -> Vec<Sampled> {
        let count = self.shared.logprobs().get(&sequence).copied();
        let mut rows = answer.logits.chunks_exact(self.vocabulary.max(1));
        let sampled = |&token: &u32| match (count, rows.next()) {
            (Some(count), Some(logits)) => Sampled::from_logits(token, logits, count),
            _ => Sampled { token, ..Sampled::default() },
        };
        answer.tokens.iter().map(sampled).collect()
    }

    /// Waits for the scheduler to take a report, unless it drops the engine meanwhile.
    fn send(&self, mut report: Report) {
        while let Err(SendTimeoutError::Timeout(unsent)) = self.reporter.send_timeout(report, AWAIT) {
            if self.shared.ending.load(Ordering::Acquire) {
                return;
            }
            report = unsent;
        }
    }
}

/// Statistics of the library's iterations; `None` if it ran none.
fn statistics(sums: &ffi::TrtllmStatistics) -> Option<IterationStatistics> {
    (sums.iterations > 0).then(|| IterationStatistics {
        tokens: sums.tokens,
        elapsed: Duration::try_from_secs_f64(sums.milliseconds / 1000.0).unwrap_or_default(),
        sequences: sums.sequences,
        reused_blocks: sums.kv_blocks_reused,
        used_blocks: sums.kv_blocks.saturating_sub(sums.kv_blocks_free),
        free_blocks: sums.kv_blocks_free,
    })
}
