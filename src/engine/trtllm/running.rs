//! A running engine: the scheduler's end, and the thread that reports what becomes of sequences.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use cxx::SharedPtr;

use super::batch::Batch;
use super::{AWAIT, millis};
use crate::engine::bridge::ffi;
use crate::engine::fan_out::{Parts, Progress, RequestId};
use crate::engine::{
    Engine, EngineError, Generated, Iteration, Limits, Outputs, PrefixSharing, Report, SequenceId,
    Statistics, Task, WholeSequence,
};
use crate::reward::HeadLayers;
use crate::sampling::{Sampled, SamplingCapabilities};

/// An engine that the library has loaded.
pub(super) struct Loaded {
    pub(super) handle: SharedPtr<ffi::TrtllmExecutor>,
    pub(super) limits: Limits,
    /// How far its sampler goes.
    pub(super) reach: SamplingCapabilities,
    /// What of a head that scores is computed here.
    pub(super) head: Arc<HeadLayers>,
    /// Logits of a generated token, if it generates.
    pub(super) vocabulary: usize,
}

/// Starts the thread that reports to `reports`; gives the scheduler's end.
pub(super) fn start(loaded: Loaded, reports: Sender<Report>) -> io::Result<TrtllmEngine> {
    let Loaded { handle, limits, reach, head, vocabulary } = loaded;
    let (fed, feeds) = bounded(1);
    let shared = Arc::new(Shared {
        handle,
        parts: Mutex::default(),
        refused: Mutex::default(),
        logprobs: Mutex::default(),
        ending: false.into(),
    });
    let tokens_per_block = limits.tokens_per_block;
    let awaiting = Awaiting { shared: shared.clone(), feeds, reports, head, vocabulary, tokens_per_block };
    let thread = thread::Builder::new().name("trtllm-await".into()).spawn(move || awaiting.serve())?;
    Ok(TrtllmEngine { shared, limits, reach, fed: Some(fed), thread: Some(thread) })
}

/// Why a sequence failed, by its name.
type Refusals = Vec<(SequenceId, String)>;

/// What the scheduler's end and the awaiting thread's share.
struct Shared {
    handle: SharedPtr<ffi::TrtllmExecutor>,
    /// Those that the library has, as requests to it.
    parts: Mutex<Parts>,
    /// Sequences that were not taken, to be reported as failed.
    refused: Mutex<Refusals>,
    /// Of those whose log-probabilities are wanted, of how many of the likeliest tokens besides.
    logprobs: Mutex<HashMap<SequenceId, usize>>,
    ending: AtomicBool,
}

impl Shared {
    fn refused(&self) -> MutexGuard<'_, Refusals> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logprobs(&self) -> MutexGuard<'_, HashMap<SequenceId, usize>> {
        self.logprobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, requests: &[RequestId]) -> Result<(), cxx::Exception> {
        requests.iter().try_for_each(|&request| self.handle.cancel(request))
    }
}

/// The scheduler's end of a running engine.
pub(super) struct TrtllmEngine {
    shared: Arc<Shared>,
    limits: Limits,
    reach: SamplingCapabilities,
    /// Wakes the awaiting thread; closed, it ends it.
    fed: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine for TrtllmEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        PrefixSharing::Own
    }

    fn reach(&self) -> SamplingCapabilities {
        self.reach
    }

    fn submit(&mut self, _: Iteration) -> Result<(), EngineError> {
        Err(EngineError::Step("TensorRT-LLM takes whole sequences, not iterations".into()))
    }

    fn feed(&mut self, sequences: Vec<WholeSequence>, cancelled: &[SequenceId]) -> Result<(), EngineError> {
        for &id in cancelled {
            let requests = self.shared.parts().unended(id);
            self.shared.cancel(&requests).map_err(step_error)?;
        }
        let mut batch = Batch::default();
        for sequence in &sequences {
            if let Err(reason) = self.check(sequence) {
                self.shared.refused().push((sequence.id, reason));
                continue;
            }
            // Before it is handed over, so that an answer finds it however soon it comes.
            if let Task::Generate(sampling) = &sequence.task
                && let Some(count) = sampling.logprobs
            {
                self.shared.logprobs().insert(sequence.id, count);
            }
            batch.push(&self.shared.parts().divide(sequence), sequence);
        }
        if let Err(error) = self.shared.handle.enqueue(&batch.sequences, &batch.token_ids) {
            let mut parts = self.shared.parts();
            for id in batch.sequences.iter().filter_map(|request| parts.forget(request.id)) {
                self.shared.logprobs().remove(&id);
                self.shared.refused().push((id, error.what().to_owned()));
            }
        }
        let ended = || EngineError::Step("the engine's thread has ended; start the server again".into());
        match self.fed.as_ref().ok_or_else(ended)?.try_send(()) {
            Err(error) if error.is_disconnected() => Err(ended()),
            // A full channel means that the thread will look anyway.
            _ => Ok(()),
        }
    }
}

impl TrtllmEngine {
    /// Whether the library can do what a sequence asks for, and else why not.
    fn check(&self, sequence: &WholeSequence) -> Result<(), String> {
        match &sequence.task {
            Task::Score(read) if read.last().is_none_or(|&last| last >= sequence.tokens.len()) => {
                Err("a text is read at its own tokens, at one at least".into())
            }
            Task::Score(_) => Ok(()),
            Task::Generate(sampling) => self.reach.check(sampling).map_err(|error| error.to_string()),
        }
    }
}

impl Drop for TrtllmEngine {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.fed = None;
        if let Some(thread) = self.thread.take() {
            // It only ends by returning; if it panicked there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// The awaiting thread's end.
struct Awaiting {
    shared: Arc<Shared>,
    feeds: Receiver<()>,
    reports: Sender<Report>,
    head: Arc<HeadLayers>,
    vocabulary: usize,
    tokens_per_block: usize,
}

impl Awaiting {
    fn serve(self) {
        if let Err(error) = self.report_all() {
            self.send(Err(step_error(error)));
        }
        if let Err(error) = self.shared.handle.shutdown() {
            tracing::warn!(%error, "TensorRT-LLM did not shut down in order");
        }
    }

    /// Reports what becomes of sequences until the engine ends and nothing is in flight.
    fn report_all(&self) -> Result<(), cxx::Exception> {
        let handle = &self.shared.handle;
        let mut cancelled = false;
        loop {
            let mut outputs =
                Outputs { failed: std::mem::take(&mut *self.shared.refused()), ..Outputs::default() };
            if outputs.failed.is_empty() {
                if handle.in_flight()? == 0 {
                    match self.feeds.recv() {
                        Ok(()) => continue,
                        Err(_) => return Ok(()),
                    }
                }
                // Nobody reads the answers any more: end early, yet in order.
                if self.shared.ending.load(Ordering::Acquire) && !cancelled {
                    cancelled = true;
                    handle.cancel_all()?;
                }
                let answers = handle.await_answers(millis(AWAIT))?;
                if answers.is_empty() {
                    continue;
                }
                for answer in answers {
                    self.take(answer, &mut outputs)?;
                }
                self.take_statistics(&handle.statistics()?, &mut outputs);
            }
            self.send(Ok(outputs));
        }
    }

    fn take(&self, answer: ffi::TrtllmAnswer, outputs: &mut Outputs) -> Result<(), cxx::Exception> {
        let Some(sequence) = self.shared.parts().sequence_of(answer.id) else { return Ok(()) };
        let (last, failed) =
            (answer.state != ffi::TrtllmState::Running, answer.state == ffi::TrtllmState::Failed);
        if !failed && !answer.scored {
            let tokens = self.sampled(sequence, &answer);
            outputs.generated.push(Generated { sequence, tokens, last });
        }
        if !last {
            return Ok(());
        }
        self.shared.logprobs().remove(&sequence);
        let logits = match (failed, answer.scored) {
            (true, _) => Err(answer.error),
            (false, true) => Ok(self.head.apply(answer.logits)),
            (false, false) => Ok(vec![]),
        };
        let cached = answer.reused_blocks * self.tokens_per_block;
        let progress = self.shared.parts().end(answer.id, logits, cached);
        match progress {
            Progress::Going => {}
            Progress::Hopeless(requests) => self.shared.cancel(&requests)?,
            Progress::Ended(ended) => {
                if ended.cached > 0 {
                    outputs.cached.push((sequence, ended.cached));
                }
                match ended.logits {
                    Err(reason) => outputs.failed.push((sequence, reason)),
                    Ok(logits) if !logits.is_empty() => outputs.logits.push((sequence, logits)),
                    // It generated.
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Generated tokens, with log-probabilities if they are wanted: an end token that the library left out
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

    fn take_statistics(&self, sums: &ffi::TrtllmStatistics, outputs: &mut Outputs) {
        if sums.iterations == 0 {
            return;
        }
        outputs.elapsed = Duration::try_from_secs_f64(sums.milliseconds / 1000.0).unwrap_or_default();
        outputs.statistics = Some(Statistics {
            tokens: sums.tokens,
            sequences: sums.sequences,
            reused_blocks: sums.kv_blocks_reused,
            used_blocks: sums.kv_blocks.saturating_sub(sums.kv_blocks_free),
            free_blocks: sums.kv_blocks_free,
        });
    }

    /// Waits for the scheduler to take a report, unless it lets go of the engine meanwhile.
    fn send(&self, mut report: Report) {
        while let Err(SendTimeoutError::Timeout(unsent)) = self.reports.send_timeout(report, AWAIT) {
            if self.shared.ending.load(Ordering::Acquire) {
                return;
            }
            report = unsent;
        }
    }
}

fn step_error(error: cxx::Exception) -> EngineError {
    EngineError::Step(error.what().to_owned())
}
