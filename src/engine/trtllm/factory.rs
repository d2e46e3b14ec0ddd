//! Loads TensorRT-LLM engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cxx::SharedPtr;

use super::batch::Batch;
use super::fan_out::{Request, RequestId};
use super::running::{self, Loaded};
use crate::engine::bridge::{exit_now, ffi};
use crate::engine::head_layers;
use crate::engine::{
    EngineError, EngineFactory, Job, Limits, Priority, QueueDepth, QueueEngine, StartEngine, Work,
};
use crate::manifest::{BuildLimits, Gpus, LimitOverrides, Manifest, Pooling, Target};
use crate::reward::HeadLayers;
use crate::sampling::SamplingCapabilities;

/// How long the library is waited for before looking whether the engine is to end.
pub(super) const AWAIT: Duration = Duration::from_millis(250);
/// Iterations' worth of sequences that the library is given at once: enough that it never waits for
/// more, few enough that what is urgent does not wait behind them.
const ITERATIONS_AHEAD: usize = 2;
/// Longest that the statistics of the first iteration are waited for.
const STATISTICS_WAIT: Duration = Duration::from_secs(1);
/// Names the request that is made while the engine loads.
const FIRST: RequestId = RequestId::MAX;

/// What may be chosen when an engine is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens whose keys and values the cache holds; what fits `kv_cache_fraction` unless given.
    pub kv_cache_tokens: Option<usize>,
    /// Part of the GPU memory that is free after loading which the KV cache takes, 0..1.
    pub kv_cache_fraction: f32,
    /// Host memory for KV blocks that no longer fit the GPU's, in bytes.
    pub kv_cache_host_bytes: usize,
    /// Whether sequences with equal beginnings share KV blocks.
    pub block_reuse: bool,
    /// Whether a long prompt may be spread over iterations.
    pub chunked_context: bool,
    /// Longest that the library may work on a sequence, its own queue included; for ever unless given.
    pub allotted: Option<Duration>,
    /// Lower limits than the engine was built with; those on an iteration are the library's.
    pub limits: LimitOverrides,
    /// The library's `executorWorker`, if it is to spawn the ranks on this machine; else `mpirun`
    /// started one of us for each.
    pub worker: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kv_cache_tokens: None,
            kv_cache_fraction: 0.9,
            kv_cache_host_bytes: 0,
            block_reuse: true,
            chunked_context: true,
            allotted: None,
            limits: LimitOverrides::default(),
            worker: None,
        }
    }
}

// SAFETY: `trtllm::Executor` (cpp/trtllm/executor.h) may be used and dropped on any thread.
unsafe impl Send for ffi::TrtllmExecutor {}
// SAFETY: Its methods lock for themselves; `shutdown` is called once nobody awaits.
unsafe impl Sync for ffi::TrtllmExecutor {}

/// An engine directory for NVIDIA GPUs.
pub struct TrtllmFactory {
    directory: PathBuf,
    config: ffi::TrtllmConfig,
    max_seq_len: usize,
    head: Arc<HeadLayers>,
    reach: SamplingCapabilities,
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
        let head = head_layers::open(directory, manifest)?;
        let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
            manifest.limits.lowered(&options.limits)?;
        let config = ffi::TrtllmConfig {
            directory: directory.to_string_lossy().into_owned(),
            head_rows: manifest.products(),
            max_batch_size,
            max_num_tokens,
            max_queue_size: 2 * ITERATIONS_AHEAD * max_batch_size + most_reads(manifest),
            kv_cache_tokens: options.kv_cache_tokens.unwrap_or(0),
            kv_cache_fraction: options.kv_cache_fraction,
            kv_cache_host_bytes: options.kv_cache_host_bytes,
            block_reuse: options.block_reuse,
            chunked_context: options.chunked_context,
            allotted_ms: options.allotted.map_or(0, millis),
            ranks: gpus.ranks(),
            worker: worker(gpus, options),
        };
        Ok(Self {
            directory: directory.to_owned(),
            config,
            max_seq_len,
            head: Arc::new(head),
            reach: reach(manifest, gpus),
        })
    }

    /// Takes part in the engine as a rank that another leads, until the leader ends it.
    ///
    /// # Errors
    /// [`EngineError::Load`]: it does not load, or this rank leads.
    pub fn follow(&self) -> Result<(), EngineError> {
        let handle = ffi::open_trtllm(&self.config).map_err(|error| self.load_error(error.what()))?;
        if handle.is_leader().map_err(|error| self.load_error(error.what()))? {
            return Err(self.load_error("this rank leads, though the environment says that it does not"));
        }
        handle.run_worker().map_err(|error| self.load_error(error.what()))
    }

    fn load_error(&self, reason: &str) -> EngineError {
        EngineError::Load(format!("{} cannot be loaded: {reason}", self.directory.display()))
    }

    /// Loads the engine and scores one token: an engine that cannot is found out here, and only
    /// after an iteration does the library tell the size of its cache.
    fn load(&self) -> Result<(SharedPtr<ffi::TrtllmExecutor>, Limits), String> {
        let what = |error: cxx::Exception| error.what().to_owned();
        let handle = ffi::open_trtllm(&self.config).map_err(what)?;
        if !handle.is_leader().map_err(what)? {
            return Err("this process is a rank that another leads; start the ranks with `mpirun`".into());
        }
        let mut batch = Batch::default();
        let first = Job { tokens: [0].into(), work: Work::score(1), priority: Priority(0) };
        batch.push(&[Request { id: FIRST, tokens: 1 }], &first);
        handle.enqueue(&batch.sequences, &batch.token_ids).map_err(what)?;
        while handle.in_flight().map_err(what)? > 0 {
            let answers = handle.await_answers(millis(AWAIT)).map_err(what)?;
            if let Some(answer) = answers.into_iter().find(|answer| answer.logits.is_empty()) {
                return Err(answer.error);
            }
        }
        // They may come a moment after the answer.
        let mut statistics = handle.statistics().map_err(what)?;
        let latest = Instant::now() + STATISTICS_WAIT;
        while statistics.kv_blocks == 0 && Instant::now() < latest {
            thread::sleep(Duration::from_millis(5));
            statistics = handle.statistics().map_err(what)?;
        }
        let limits = self.limits(&statistics);
        Ok((handle, limits))
    }

    fn limits(&self, cache: &ffi::TrtllmStatistics) -> Limits {
        let tokens_per_block = cache.tokens_per_block.max(1);
        let longest = self.max_seq_len.div_ceil(tokens_per_block);
        Limits {
            max_seq_len: self.max_seq_len,
            max_batch_size: self.config.max_batch_size,
            max_num_tokens: self.config.max_num_tokens,
            // The library queues what does not fit, so too small a figure would only cost speed.
            kv_blocks: cache.kv_blocks.max(longest),
            tokens_per_block,
        }
    }
}

impl From<TrtllmFactory> for EngineFactory {
    fn from(factory: TrtllmFactory) -> Self {
        Self::queue(factory)
    }
}

impl StartEngine<dyn QueueEngine> for TrtllmFactory {
    fn start(&mut self) -> Result<Box<dyn QueueEngine>, EngineError> {
        let (handle, limits) = self.load().map_err(|reason| self.load_error(&reason))?;
        let loaded = Loaded {
            handle,
            limits,
            depth: QueueDepth {
                reads: ITERATIONS_AHEAD * self.config.max_batch_size,
                tokens: (ITERATIONS_AHEAD * self.config.max_num_tokens).max(self.max_seq_len),
            },
            reach: self.reach,
            head: self.head.clone(),
            vocabulary: self.config.head_rows,
        };
        let engine = running::start(loaded)
            .map_err(|error| EngineError::Load(format!("the engine's thread cannot start: {error}")))?;
        Ok(Box::new(engine))
    }
}

/// Requests that one sequence may be, beyond the few of any: it is fed alone if it is read in more places
/// than a batch has room for.
fn most_reads(manifest: &Manifest) -> usize {
    match manifest.head.pooling {
        Pooling::LastToken => 0,
        Pooling::EachStep { .. } => manifest.limits.max_seq_len,
    }
}

/// How far the library's sampler goes (1.2.1): it clips `top_k` and holds back the end id alone, and where it
/// pads the vocabulary for its ranks it takes no bias of the vocabulary's size.
fn reach(manifest: &Manifest, gpus: &Gpus) -> SamplingCapabilities {
    let logit_bias = manifest.model.vocab_size.is_multiple_of(gpus.tensor_parallel.max(1));
    SamplingCapabilities { top_k: 1024, suppressed_end_tokens: 1, logit_bias, prompt_logprobs: false }
}

fn worker(gpus: &Gpus, options: &Options) -> String {
    match &options.worker {
        Some(worker) if gpus.ranks() > 1 => worker.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

/// Ends the process at once. At an ordinary end the library's MPI waits for every other rank, for ever if one
/// is lost or still loads; gone without that, this rank is noticed by what started it, which ends the others.
pub fn leave(status: u8) -> ! {
    exit_now(status.into())
}

/// The library's program for ranks that it spawns itself, in `TRTLLM_ROOT` or where NVIDIA's image has it.
pub fn default_worker() -> PathBuf {
    let root = std::env::var_os("TRTLLM_ROOT").unwrap_or_else(|| "/app/tensorrt_llm".into());
    Path::new(&root).join("bin/executorWorker")
}

pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
