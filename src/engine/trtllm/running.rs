//! A running engine: the scheduler's end, and the thread that reports what becomes of sequences.

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
use crate::engine::parts::{Parts, Progress, RequestId};
use crate::engine::sampling::Sampled;
use crate::engine::upper_layers::UpperLayers;
use crate::engine::{
    Engine, EngineError, Generated, Iteration, Limits, Outputs, PrefixSharing, Report, SequenceId,
    Statistics, Task, WholeSequence,
};

/// Starts the thread that reports to `reports`; gives the scheduler's end.
pub(super) fn start(
    handle: SharedPtr<ffi::TrtllmHandle>,
    limits: Limits,
    head: Arc<UpperLayers>,
    reports: Sender<Report>,
) -> io::Result<TrtllmEngine> {
    let (fed, feeds) = bounded(1);
    let shared =
        Arc::new(Shared { handle, parts: Mutex::default(), refused: Mutex::default(), ending: false.into() });
    let tokens_per_block = limits.tokens_per_block;
    let awaiting = Awaiting { shared: shared.clone(), feeds, reports, head, tokens_per_block };
    let thread = thread::Builder::new().name("trtllm-await".into()).spawn(move || awaiting.serve())?;
    Ok(TrtllmEngine { shared, limits, fed: Some(fed), thread: Some(thread) })
}

/// Why a sequence failed, by its name.
type Refusals = Vec<(SequenceId, String)>;

/// What the scheduler's end and the awaiting thread's share.
struct Shared {
    handle: SharedPtr<ffi::TrtllmHandle>,
    /// Those that the library has, as requests to it.
    parts: Mutex<Parts>,
    /// Sequences that were not taken, to be reported as failed.
    refused: Mutex<Refusals>,
    ending: AtomicBool,
}

impl Shared {
    fn refused(&self) -> MutexGuard<'_, Refusals> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, requests: &[RequestId]) -> Result<(), cxx::Exception> {
        requests.iter().try_for_each(|&request| self.handle.cancel(request))
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
            let requests = self.shared.parts().unended(id);
            self.shared.cancel(&requests).map_err(step_error)?;
        }
        let mut batch = Batch::default();
        for sequence in &sequences {
            match obstacle(sequence) {
                // Before it is handed over, so that an answer finds it however soon it comes.
                None => batch.push(&self.shared.parts().divide(sequence), sequence),
                Some(reason) => self.shared.refused().push((sequence.id, reason.into())),
            }
        }
        if let Err(error) = self.shared.handle.enqueue(&batch.sequences, &batch.token_ids) {
            let mut parts = self.shared.parts();
            let untaken = batch.sequences.iter().filter_map(|request| parts.forget(request.id));
            self.shared.refused().extend(untaken.map(|id| (id, error.what().to_owned())));
        }
        let ended = || EngineError::Step("the engine's thread has ended; start the server again".into());
        match self.fed.as_ref().ok_or_else(ended)?.try_send(()) {
            Err(error) if error.is_disconnected() => Err(ended()),
            // A full channel means that the thread will look anyway.
            _ => Ok(()),
        }
    }
}

/// Why a sequence cannot be taken.
fn obstacle(sequence: &WholeSequence) -> Option<&'static str> {
    match &sequence.task {
        Task::Score(read) if read.last().is_none_or(|&last| last >= sequence.tokens.len()) => {
            Some("a text is read at its own tokens, at one at least")
        }
        Task::Generate(sampling) if !sampling.logit_bias.is_empty() || sampling.logprobs.unwrap_or(0) > 0 => {
            Some("engines for GPUs take no logit bias and give log-probabilities of the chosen tokens only")
        }
        _ => None,
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
    head: Arc<UpperLayers>,
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
            (answer.ending != ffi::TrtllmEnding::None, answer.ending == ffi::TrtllmEnding::Failed);
        if !failed && answer.logits.is_empty() {
            outputs.generated.push(generated(sequence, &answer, last));
        }
        if !last {
            return Ok(());
        }
        let logits = if failed { Err(answer.error) } else { Ok(self.head.outputs(&answer.logits)) };
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

fn generated(sequence: SequenceId, answer: &ffi::TrtllmAnswer, last: bool) -> Generated {
    let logprobs = answer.log_probs.iter().copied().map(Some).chain(std::iter::repeat(None));
    let sampled = |(&token, logprob)| Sampled { token, logprob, top: Vec::new() };
    Generated { sequence, tokens: answer.tokens.iter().zip(logprobs).map(sampled).collect(), last }
}

fn step_error(error: cxx::Exception) -> EngineError {
    EngineError::Step(error.what().to_owned())
}
