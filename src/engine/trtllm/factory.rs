//! Loads TensorRT-LLM engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cxx::SharedPtr;

use super::batch::Batch;
use super::fan_out::{Request, RequestId};
use super::running::{self, AWAIT, Loaded, millis};
use crate::engine::bridge::ffi;
use crate::engine::{
    EngineError, EngineFactory, EngineOptions, Job, LibraryError, Limits, Priority, QueueDepth, QueueEngine,
    StartEngine, Work, head_layers,
};
use crate::hardware::Obstacle;
use crate::manifest::{BuildLimits, EngineFiles, GpuTarget, HEAD_FILE, Manifest, Model, Pooling, Target};
use crate::reward::HeadLayers;
use crate::sampling::SamplingCapabilities;

/// How many iterations' worth of sequences the library holds at once: enough to keep it busy, but few enough that an
/// urgent sequence does not wait long.
const ITERATIONS_AHEAD: usize = 2;
/// How long to wait for the statistics of the first iteration.
const STATISTICS_WAIT: Duration = Duration::from_secs(1);
/// Bytes of a logit.
const F32: usize = size_of::<f32>();
/// The id of the request that is made while the engine loads.
const FIRST: RequestId = RequestId::MAX;

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
    capabilities: SamplingCapabilities,
    /// Number of rows of logits that fit in the host memory for them.
    logit_rows: usize,
    /// Rows of the embedding.
    prompt_vocabulary: usize,
    allotted: Option<Duration>,
    /// The manifest whose files are verified again before every start but the first.
    verified: Option<Manifest>,
    started: bool,
}

impl TrtllmFactory {
    /// Reads what this process itself uses of an engine directory, and verifies nothing. For the rest, see
    /// [`TrtllmFactory::new`].
    ///
    /// # Errors
    /// A file cannot be read, and as for [`TrtllmFactory::new`].
    pub fn open(directory: &Path, manifest: &Manifest, options: &EngineOptions) -> Result<Self, EngineError> {
        let head = manifest.head.has_head_layers().then_some(HEAD_FILE);
        let files = EngineFiles::read_unverified(directory, head.as_slice())?;
        Self::new(&files, manifest, options)
    }

    /// Checks what can be known before loading. The engine's ranks are started by `mpirun`, unless
    /// [`TrtllmFactory::spawning_ranks`].
    ///
    /// # Errors
    /// The engine is for a CPU, its head cannot be read, or an option exceeds what it was built for.
    pub fn new(
        files: &EngineFiles,
        manifest: &Manifest,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let directory = files.directory();
        let Target::TensorrtLlm(gpus) = &manifest.target else {
            return Err(EngineError::Unsuitable {
                directory: directory.to_owned(),
                obstacle: Obstacle::ForCpu,
            });
        };
        let head = head_layers::parse(files, manifest)?;
        let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
            manifest.limits.lowered(&options.limits)?;
        let attention_windows = attention_windows(&manifest.model, max_seq_len);
        if options.gpu.block_reuse && !attention_windows.is_empty() {
            tracing::info!("texts may be longer than the model's sliding window, so prefixes are not shared");
        }
        let logit_rows = options.gpu.logits_host_bytes / (F32 * logits_width(manifest, gpus));
        let config = ffi::TrtllmConfig {
            directory: directory.to_string_lossy().into_owned(),
            head_rows: manifest.products(),
            max_batch_size,
            max_num_tokens,
            max_queue_size: 2 * ITERATIONS_AHEAD * max_batch_size + max_extra_requests(manifest),
            kv_cache_tokens: options.kv_cache_tokens.unwrap_or(0),
            kv_cache_fraction: options.gpu.kv_cache_fraction,
            kv_cache_host_bytes: options.gpu.kv_cache_host_bytes,
            block_reuse: options.gpu.block_reuse && attention_windows.is_empty(),
            chunked_context: options.gpu.chunked_context,
            generates: manifest.task.generates(),
            attention_windows,
            ranks: gpus.ranks(),
            worker: String::new(),
        };
        Ok(Self {
            directory: directory.to_owned(),
            config,
            max_seq_len,
            head: Arc::new(head),
            capabilities: capabilities(manifest, gpus, logit_rows),
            logit_rows,
            prompt_vocabulary: manifest.model.vocab_size,
            allotted: options.gpu.allotted,
            verified: None,
            started: false,
        })
    }

    /// Verifies the engine's files again before every start but the first: the library reads them each time, and they
    /// may have been changed since they were verified.
    #[must_use]
    pub fn verified(mut self, manifest: &Manifest) -> Self {
        self.verified = Some(manifest.clone());
        self
    }

    /// Has the library spawn the ranks on this machine, if there are several.
    #[must_use]
    pub fn spawning_ranks(mut self) -> Self {
        if self.config.ranks > 1 {
            self.config.worker = worker_program().to_string_lossy().into_owned();
        }
        self
    }

    /// Loads this rank's shard of the engine, and works until the leader ends the engine.
    ///
    /// # Errors
    /// The shard does not load, or this rank leads.
    pub fn run_worker(&self) -> Result<(), EngineError> {
        let executor = self.open_executor()?;
        if executor.is_leader().map_err(|error| self.load_error(error))? {
            return Err(EngineError::LeaderWorks(self.directory.clone()));
        }
        executor.run_worker().map_err(|error| self.load_error(error))
    }

    fn open_executor(&self) -> Result<SharedPtr<ffi::TrtllmExecutor>, EngineError> {
        ffi::open_trtllm(&self.config).map_err(|error| self.load_error(error))
    }

    fn load_error(&self, source: impl Into<LibraryError>) -> EngineError {
        EngineError::Library { directory: self.directory.clone(), source: source.into() }
    }

    /// Loads the engine and scores one token, so that a broken engine fails here. Besides, the library reports the size
    /// of its cache only after an iteration.
    fn load(&self) -> Result<(SharedPtr<ffi::TrtllmExecutor>, Limits), EngineError> {
        let failed = |error: cxx::Exception| self.load_error(error);
        let executor = self.open_executor()?;
        if !executor.is_leader().map_err(failed)? {
            return Err(EngineError::WorkerLeads(self.directory.clone()));
        }
        let mut batch = Batch::default();
        let first = Job { tokens: [0].into(), work: Work::score(1), priority: Priority(0) };
        batch.push(&[Request { id: FIRST, tokens: 1 }], &first);
        executor.enqueue(&batch.sequences, &batch.token_ids).map_err(failed)?;
        while executor.in_flight().map_err(failed)? > 0 {
            let answers = executor.await_answers(millis(AWAIT)).map_err(failed)?;
            if let Some(answer) = answers.into_iter().find(|answer| answer.logits.is_empty()) {
                return Err(self.load_error(LibraryError(answer.error)));
            }
        }
        // They may come a moment after the answer.
        let mut statistics = executor.statistics().map_err(failed)?;
        let latest = Instant::now() + STATISTICS_WAIT;
        while statistics.kv_blocks == 0 && Instant::now() < latest {
            thread::sleep(Duration::from_millis(5));
            statistics = executor.statistics().map_err(failed)?;
        }
        let limits = self.limits(&statistics);
        Ok((executor, limits))
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
        if std::mem::replace(&mut self.started, true)
            && let Some(manifest) = &self.verified
        {
            manifest.verify(&self.directory)?;
        }
        let (executor, limits) = self.load()?;
        let loaded = Loaded {
            executor,
            limits,
            depth: QueueDepth {
                reads: ITERATIONS_AHEAD * self.config.max_batch_size,
                tokens: (ITERATIONS_AHEAD * self.config.max_num_tokens).max(self.max_seq_len),
                logit_rows: self.logit_rows,
            },
            capabilities: self.capabilities,
            head: self.head.clone(),
            vocabulary: self.config.head_rows,
            prompt_vocabulary: self.prompt_vocabulary,
            allotted: self.allotted,
        };
        let engine =
            running::start(loaded).map_err(|source| EngineError::Thread { thread: "engine", source })?;
        Ok(Box::new(engine))
    }
}

/// How many requests a single sequence may be split into, in excess of a batch.
fn max_extra_requests(manifest: &Manifest) -> usize {
    match manifest.head.pooling {
        Pooling::LastToken | Pooling::LastNonPad { .. } | Pooling::FirstToken | Pooling::Mean => 0,
        Pooling::EachStep { .. } | Pooling::EachEncodedStep { .. } | Pooling::EachTurn { .. } => {
            manifest.limits.max_seq_len
        }
    }
}

/// For each layer, the keys that a query sees; empty if no window is shorter than a sequence of `max_seq_len` tokens
/// with the token generated after it. Without these, the library lets every layer see everything.
fn attention_windows(model: &Model, max_seq_len: usize) -> Vec<usize> {
    let all = max_seq_len + 1;
    match &model.variant.sliding_window {
        Some(window) if window.keys < all => (0..model.num_layers)
            .map(|layer| if window.layers.contains(&layer) { window.keys } else { all })
            .collect(),
        _ => Vec::new(),
    }
}

/// Numbers in a row of logits: the rows of a small head, or the vocabulary padded for all ranks.
fn logits_width(manifest: &Manifest, gpus: &GpuTarget) -> usize {
    let vocabulary = || manifest.model.vocab_size.next_multiple_of(gpus.ranks().max(1));
    gpus.lm_head_rows.unwrap_or_else(vocabulary).max(1)
}

/// What the library's sampler supports (1.2.1). It clips `top_k`, suppresses only the end id, and takes no bias of
/// the vocabulary's size if it pads the vocabulary, which it does for all ranks.
fn capabilities(manifest: &Manifest, gpus: &GpuTarget, logit_rows: usize) -> SamplingCapabilities {
    let logit_bias = manifest.model.vocab_size.is_multiple_of(gpus.ranks().max(1));
    SamplingCapabilities {
        top_k: 1024,
        suppressed_end_tokens: 1,
        allowed_tokens: false,
        logit_bias,
        prompt_logprobs: false,
        max_logprobs_tokens: logit_rows,
        label_tokens: false,
    }
}

/// The library's program for ranks that it spawns itself: in `TRTLLM_ROOT`, or where NVIDIA's image has it.
fn worker_program() -> PathBuf {
    let root = std::env::var_os("TRTLLM_ROOT").unwrap_or_else(|| "/app/tensorrt_llm".into());
    Path::new(&root).join("bin/executorWorker")
}
