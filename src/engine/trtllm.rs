//! TensorRT-LLM engines on NVIDIA GPUs, driven in process.
//!
//! The library takes whole sequences and makes iterations of them itself, so what the scheduler
//! calls an iteration is a round here: every sequence whose logits are asked for goes over whole,
//! and the round is reported when all are answered. The scheduler prepares the next round
//! meanwhile. Which prefixes are shared is the library's own affair; the scheduler only sees to it
//! that the first of a group is through before the others follow.
//!
//! A request gives the logits after its last token only, so a sequence that is read anywhere but at
//! the end of a chunk is refused.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use cxx::SharedPtr;

use super::bridge::ffi;
use super::manifest::{Gpus, Manifest, Pooling, Target};
use super::{
    Engine, EngineError, EngineFactory, Iteration, Limits, Outputs, PrefixSharing, Report, SequenceId,
};

const LAST_TOKEN_ONLY: &str = "TensorRT-LLM gives the logits after the last token of a text only";
/// How long the library is waited for before looking whether the engine is to end.
const AWAIT: Duration = Duration::from_millis(250);
/// Rounds hold this many of the library's own iterations, so that few GPU steps end one.
const ITERATIONS_PER_ROUND: usize = 4;
/// Names the sequence that is scored while the engine loads.
const FIRST: SequenceId = SequenceId::MAX;

/// What may be chosen when an engine is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens whose keys and values the cache holds; what fits `kv_cache_fraction` unless given.
    pub kv_cache_tokens: Option<usize>,
    /// Part of the GPU memory that is free after loading which the KV cache takes, 0..1.
    pub kv_cache_fraction: f32,
    /// Most sequences in one iteration of the library; what the engine was built for unless given.
    pub max_batch_size: Option<usize>,
    /// Most tokens in one iteration of the library; what the engine was built for unless given.
    pub max_num_tokens: Option<usize>,
    /// Longest sequence; no more than what the engine was built for.
    pub max_seq_len: Option<usize>,
    /// The library's `executorWorker`, if it is to spawn the ranks on this machine; else `mpirun`
    /// started one of us for each.
    pub worker: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kv_cache_tokens: None,
            kv_cache_fraction: 0.9,
            max_batch_size: None,
            max_num_tokens: None,
            max_seq_len: None,
            worker: None,
        }
    }
}

// SAFETY: `trtllm::Executor` (cpp/trtllm/executor.h) may be used and dropped on any thread.
unsafe impl Send for ffi::TrtllmHandle {}
// SAFETY: Its methods lock for themselves; `shutdown` is called once nobody awaits.
unsafe impl Sync for ffi::TrtllmHandle {}

/// An engine directory for NVIDIA GPUs.
pub struct TrtllmFactory {
    directory: PathBuf,
    config: ffi::TrtllmConfig,
    max_seq_len: usize,
    bias: Arc<[f32]>,
}

impl TrtllmFactory {
    /// Checks what can be known before loading.
    ///
    /// # Errors
    /// [`EngineError::Load`]: the engine is for a CPU, or an option exceeds what it was built for.
    pub fn open(directory: &Path, manifest: &Manifest, options: &Options) -> Result<Self, EngineError> {
        let refuse = |reason: String| Err(EngineError::Load(format!("{} {reason}", directory.display())));
        let Target::TensorrtLlm(gpus) = &manifest.target else {
            return refuse("was built for a CPU".into());
        };
        let head_rows = manifest.head.outputs();
        let biases = if manifest.head.bias { head_rows } else { 0 };
        if gpus.head_bias.len() != biases {
            return refuse(format!("has {} biases where {biases} are due", gpus.head_bias.len()));
        }
        if manifest.head.pooling != Pooling::LastToken || manifest.head.gating.is_some() {
            return refuse(format!(
                "has a head that is read before the last token too, and {LAST_TOKEN_ONLY}; serve it on a CPU"
            ));
        }
        if manifest.head.hidden.is_some() {
            return refuse(
                "has a head of two layers, which TensorRT-LLM's own models have no place for".into(),
            );
        }
        let built = manifest.limits;
        let chosen = |name: &str, option: Option<usize>, built: usize| match option.unwrap_or(built) {
            0 => Err(EngineError::Load(format!("{name} is 0; it must be at least 1"))),
            value if value > built => Err(EngineError::Load(format!(
                "{name} is {value}, the engine was built for {built}; lower it or build the engine again"
            ))),
            value => Ok(value),
        };
        let max_batch_size = chosen("max_batch_size", options.max_batch_size, built.max_batch_size)?;
        let config = ffi::TrtllmConfig {
            directory: directory.to_string_lossy().into_owned(),
            head_rows,
            max_batch_size,
            max_num_tokens: chosen("max_num_tokens", options.max_num_tokens, built.max_num_tokens)?,
            max_queue_size: 2 * ITERATIONS_PER_ROUND * max_batch_size,
            kv_cache_tokens: options.kv_cache_tokens.unwrap_or(0),
            kv_cache_fraction: options.kv_cache_fraction,
            block_reuse: true,
            chunked_context: true,
            ranks: gpus.ranks(),
            worker: worker(gpus, options),
        };
        Ok(Self {
            directory: directory.to_owned(),
            config,
            max_seq_len: chosen("max_seq_len", options.max_seq_len, built.max_seq_len)?,
            bias: gpus.head_bias.as_slice().into(),
        })
    }

    /// Takes part in the engine as a rank that another leads, until the leader ends it.
    ///
    /// # Errors
    /// [`EngineError::Load`]: it does not load, or this rank leads.
    pub fn follow(&self) -> Result<(), EngineError> {
        let handle = ffi::open_trtllm(&self.config).map_err(|error| self.load_error(error.what()))?;
        if handle.leads().map_err(|error| self.load_error(error.what()))? {
            return Err(self.load_error("this rank leads, though the environment says that it does not"));
        }
        handle.follow().map_err(|error| self.load_error(error.what()))
    }

    fn load_error(&self, reason: &str) -> EngineError {
        EngineError::Load(format!("{} cannot be loaded: {reason}", self.directory.display()))
    }

    /// Loads the engine and scores one token: an engine that cannot is found out here, and only
    /// after an iteration does the library tell the size of its cache.
    fn load(&self) -> Result<(SharedPtr<ffi::TrtllmHandle>, Limits), String> {
        let what = |error: cxx::Exception| error.what().to_owned();
        let handle = ffi::open_trtllm(&self.config).map_err(what)?;
        if !handle.leads().map_err(what)? {
            return Err("this process is a rank that another leads; start the ranks with `mpirun`".into());
        }
        let first = ffi::TrtllmSequence { id: FIRST, token_begin: 0, token_end: 1 };
        handle.enqueue(&[first], &[0]).map_err(what)?;
        while handle.in_flight().map_err(what)? > 0 {
            let answers = handle.await_answers(millis(AWAIT)).map_err(what)?;
            if let Some(answer) = answers.into_iter().find(|answer| answer.logits.is_empty()) {
                return Err(answer.error);
            }
        }
        let cache = handle.cache().map_err(what)?;
        let limits = self.limits(&cache);
        Ok((handle, limits))
    }

    fn limits(&self, cache: &ffi::TrtllmCache) -> Limits {
        let tokens_per_block = cache.tokens_per_block.max(1);
        let longest = self.max_seq_len.div_ceil(tokens_per_block);
        Limits {
            max_seq_len: self.max_seq_len,
            max_batch_size: ITERATIONS_PER_ROUND * self.config.max_batch_size,
            max_num_tokens: (ITERATIONS_PER_ROUND * self.config.max_num_tokens).max(self.max_seq_len),
            // The library queues what does not fit, so too small a figure would only cost speed.
            kv_blocks: cache.blocks.max(longest),
            tokens_per_block,
        }
    }
}

impl EngineFactory for TrtllmFactory {
    fn start(&mut self, reports: Sender<Report>) -> Result<Box<dyn Engine>, EngineError> {
        let (handle, limits) = self.load().map_err(|reason| self.load_error(&reason))?;
        let (rounds, received) = bounded(1);
        let ending = Arc::new(AtomicBool::new(false));
        let awaiting = Awaiting {
            handle: handle.clone(),
            rounds: received,
            reports,
            ending: ending.clone(),
            bias: self.bias.clone(),
        };
        let thread = thread::Builder::new()
            .name("trtllm-await".into())
            .spawn(move || awaiting.serve())
            .map_err(|error| EngineError::Load(format!("the engine's thread cannot start: {error}")))?;
        Ok(Box::new(TrtllmEngine {
            handle,
            limits,
            tokens: vec![0; limits.kv_blocks * limits.tokens_per_block],
            rounds: Some(rounds),
            ending,
            thread: Some(thread),
        }))
    }
}

fn worker(gpus: &Gpus, options: &Options) -> String {
    match &options.worker {
        Some(worker) if gpus.ranks() > 1 => worker.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

/// This process's rank as what started the ranks tells it (Open MPI, PMIx, PMI); `None` where nothing did.
pub fn rank() -> Option<usize> {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// The library's program for ranks that it spawns itself, in `TRTLLM_ROOT` or where NVIDIA's image has it.
pub fn default_worker() -> PathBuf {
    let root = std::env::var_os("TRTLLM_ROOT").unwrap_or_else(|| "/app/tensorrt_llm".into());
    Path::new(&root).join("bin/executorWorker")
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What is awaited of a round.
struct Round {
    started: Instant,
    /// Sequences without an answer yet.
    wanted: Vec<SequenceId>,
    /// Why the library took none of them, if it did not.
    refused: Option<String>,
    /// Sequences that are read where the library gives no logits.
    unreadable: Vec<SequenceId>,
}

/// The scheduler's end of a running engine.
struct TrtllmEngine {
    handle: SharedPtr<ffi::TrtllmHandle>,
    limits: Limits,
    /// Of every slot of every block, the token that stands there: a sequence goes over whole, also
    /// where the scheduler took a prefix from its tree or cut a prompt into chunks.
    tokens: Vec<u32>,
    rounds: Option<Sender<Round>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TrtllmEngine {
    fn slot(&self, table: &[super::BlockId], position: usize) -> usize {
        let per_block = self.limits.tokens_per_block;
        table[position / per_block] as usize * per_block + position % per_block
    }

    /// Writes down the iteration's tokens; gives the sequences to score, their tokens, and the
    /// sequences that cannot be.
    fn gather(&mut self, iteration: &Iteration) -> (Vec<ffi::TrtllmSequence>, Vec<u32>, Vec<SequenceId>) {
        let (mut sequences, mut token_ids, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in &iteration.chunks {
            let table = &iteration.block_table[chunk.blocks.clone()];
            for (position, token) in (chunk.position..).zip(&iteration.token_ids[chunk.tokens.clone()]) {
                let slot = self.slot(table, position);
                self.tokens[slot] = *token;
            }
            if chunk.logits == [chunk.tokens.len() - 1] {
                let token_begin = token_ids.len();
                let end = chunk.position + chunk.tokens.len();
                token_ids.extend((0..end).map(|position| self.tokens[self.slot(table, position)]));
                let token_end = token_ids.len();
                sequences.push(ffi::TrtllmSequence { id: chunk.sequence, token_begin, token_end });
            } else if !chunk.logits.is_empty() {
                unreadable.push(chunk.sequence);
            }
        }
        (sequences, token_ids, unreadable)
    }
}

impl Engine for TrtllmEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        PrefixSharing::Cached
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), EngineError> {
        let started = Instant::now();
        let (sequences, token_ids, unreadable) = self.gather(&iteration);
        let refused = self.handle.enqueue(&sequences, &token_ids).err().map(|error| error.what().to_owned());
        let wanted = sequences.iter().map(|sequence| sequence.id).collect();
        let ended = || EngineError::Step("the engine's thread has ended; start the server again".into());
        let rounds = self.rounds.as_ref().ok_or_else(ended)?;
        rounds.send(Round { started, wanted, refused, unreadable }).map_err(|_| ended())
    }
}

impl Drop for TrtllmEngine {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.rounds = None;
        if let Some(thread) = self.thread.take() {
            // It only ends by returning; if it panicked there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// The awaiting thread's end.
struct Awaiting {
    handle: SharedPtr<ffi::TrtllmHandle>,
    rounds: Receiver<Round>,
    reports: Sender<Report>,
    ending: Arc<AtomicBool>,
    bias: Arc<[f32]>,
}

impl Awaiting {
    fn serve(self) {
        while let Ok(round) = self.rounds.recv() {
            let report = self.finish(round);
            let lost = report.is_err();
            if self.reports.send(report).is_err() || lost {
                break;
            }
        }
        if let Err(error) = self.handle.shutdown() {
            tracing::warn!(%error, "TensorRT-LLM did not shut down in order");
        }
    }

    /// Waits for all answers of a round.
    fn finish(&self, round: Round) -> Report {
        let unreadable = round.unreadable.into_iter().map(|id| (id, LAST_TOKEN_ONLY.to_owned()));
        let mut outputs = Outputs { failed: unreadable.collect(), ..Outputs::default() };
        if let Some(reason) = round.refused {
            outputs.failed.extend(round.wanted.into_iter().map(|id| (id, reason.clone())));
            return Ok(outputs);
        }
        let mut wanted: HashSet<SequenceId> = round.wanted.into_iter().collect();
        let mut cancelled = false;
        while !wanted.is_empty() {
            // Nobody reads the answers any more: end early, yet in order.
            if self.ending.load(Ordering::Acquire) && !cancelled {
                cancelled = true;
                for id in &wanted {
                    self.handle.cancel(*id).map_err(step_error)?;
                }
            }
            for answer in self.handle.await_answers(millis(AWAIT)).map_err(step_error)? {
                if wanted.remove(&answer.id) {
                    self.take(answer, &mut outputs);
                }
            }
        }
        outputs.elapsed = round.started.elapsed();
        Ok(outputs)
    }

    fn take(&self, answer: ffi::TrtllmAnswer, outputs: &mut Outputs) {
        if answer.logits.is_empty() {
            outputs.failed.push((answer.id, answer.error));
            return;
        }
        let mut logits = answer.logits;
        for (logit, bias) in logits.iter_mut().zip(self.bias.iter()) {
            *logit += bias;
        }
        outputs.logits.push((answer.id, logits));
    }
}

fn step_error(error: cxx::Exception) -> EngineError {
    EngineError::Step(error.what().to_owned())
}
