//! A running engine: the scheduler's end, and the thread that reports what becomes of sequences.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use cxx::SharedPtr;

use super::batch::Batch;
use super::{AWAIT, LAST_TOKEN_ONLY, millis};
use crate::engine::bridge::ffi;
use crate::engine::sampling::Sampled;
use crate::engine::{
    Engine, EngineError, Generated, Iteration, Limits, Outputs, PrefixSharing, Report, SequenceId,
    Statistics, Task, WholeSequence,
};

/// Starts the thread that reports to `reports`; gives the scheduler's end.
pub(super) fn start(
    handle: SharedPtr<ffi::TrtllmHandle>,
    limits: Limits,
    bias: Arc<[f32]>,
    reports: Sender<Report>,
) -> io::Result<TrtllmEngine> {
    let (fed, feeds) = bounded(1);
    let shared = Arc::new(Shared { handle, refused: Mutex::default(), ending: false.into() });
    let tokens_per_block = limits.tokens_per_block;
    let awaiting = Awaiting { shared: shared.clone(), feeds, reports, bias, tokens_per_block };
    let thread = thread::Builder::new().name("trtllm-await".into()).spawn(move || awaiting.serve())?;
    Ok(TrtllmEngine { shared, limits, fed: Some(fed), thread: Some(thread) })
}

/// Why a sequence failed, by its name.
type Refusals = Vec<(SequenceId, String)>;

/// What the scheduler's end and the awaiting thread's share.
struct Shared {
    handle: SharedPtr<ffi::TrtllmHandle>,
    /// Sequences that were not taken, to be reported as failed.
    refused: Mutex<Refusals>,
    ending: AtomicBool,
}

impl Shared {
    fn refused(&self) -> MutexGuard<'_, Refusals> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scheduler's end of a running engine.
pub(super) struct TrtllmEngine {
    shared: Arc<Shared>,
    limits: Limits,
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

    fn submit(&mut self, _: Iteration) -> Result<(), EngineError> {
        Err(EngineError::Step("TensorRT-LLM takes whole sequences, not iterations".into()))
    }

    fn feed(&mut self, sequences: Vec<WholeSequence>, cancelled: &[SequenceId]) -> Result<(), EngineError> {
        for &id in cancelled {
            self.shared.handle.cancel(id).map_err(step_error)?;
        }
        let mut batch = Batch::default();
        for sequence in &sequences {
            if is_readable(sequence) {
                batch.push(sequence.id, &sequence.tokens, &sequence.task, sequence.priority);
            } else {
                let reason = match sequence.task {
                    Task::Score(_) => LAST_TOKEN_ONLY,
                    Task::Generate(_) => NO_SUCH_SAMPLING,
                };
                self.shared.refused().push((sequence.id, reason.into()));
            }
        }
        if let Err(error) = self.shared.handle.enqueue(&batch.sequences, &batch.token_ids) {
            let reason = error.what();
            self.shared
                .refused()
                .extend(batch.sequences.iter().map(|sequence| (sequence.id, reason.to_owned())));
        }
        let ended = || EngineError::Step("the engine's thread has ended; start the server again".into());
        match self.fed.as_ref().ok_or_else(ended)?.try_send(()) {
            Err(error) if error.is_disconnected() => Err(ended()),
            // A full channel means that the thread will look anyway.
            _ => Ok(()),
        }
    }
}

/// Why a sequence is not taken.
const NO_SUCH_SAMPLING: &str =
    "engines for GPUs take no logit bias and give log-probabilities of the chosen tokens only";

/// Whether the library can do what a sequence asks for.
fn is_readable(sequence: &WholeSequence) -> bool {
    match &sequence.task {
        Task::Score(read) => **read == [sequence.tokens.len() - 1],
        Task::Generate(sampling) => sampling.logit_bias.is_empty() && sampling.logprobs.unwrap_or(0) == 0,
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
    bias: Arc<[f32]>,
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
                self.take(answers, &mut outputs);
                self.take_statistics(&handle.statistics()?, &mut outputs);
            }
            self.send(Ok(outputs));
        }
    }

    fn take(&self, answers: Vec<ffi::TrtllmAnswer>, outputs: &mut Outputs) {
        for answer in answers {
            let ending = answer.ending;
            if answer.reused_blocks > 0 {
                outputs.cached.push((answer.id, answer.reused_blocks * self.tokens_per_block));
            }
            if ending == ffi::TrtllmEnding::Failed {
                outputs.failed.push((answer.id, answer.error));
            } else if answer.logits.is_empty() {
                let last = ending != ffi::TrtllmEnding::None;
                let logprobs = answer.log_probs.into_iter().map(Some).chain(std::iter::repeat(None));
                let sampled = |(token, logprob)| Sampled { token, logprob, top: Vec::new() };
                let tokens = answer.tokens.into_iter().zip(logprobs).map(sampled).collect();
                outputs.generated.push(Generated { sequence: answer.id, tokens, last });
            } else {
                let mut logits = answer.logits;
                for (logit, bias) in logits.iter_mut().zip(self.bias.iter()) {
                    *logit += bias;
                }
                outputs.logits.push((answer.id, logits));
            }
        }
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
