//! The embedded CPU engine: a decoder or an encoder in C++ on oneDNN, driven by a thread of its own.

mod backend;
mod decoder;
mod model_view;
mod packing;
mod rope;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    EngineError, EngineFactory, EngineOptions, Iteration, LengthClasses, Limits, PrefixSharing, StartEngine,
    StepEngine, StepError, StepReport,
};
use crate::engine::bridge::ffi;
use crate::engine::head_layers;
use crate::engine::weights::Weights;
use crate::hardware::{Cpu, Obstacle, cores};
use crate::manifest::{BuildLimits, Dtype, EngineFiles, HEAD_FILE, Manifest, Target, WEIGHTS_FILE};
use crate::reward::HeadLayers;
use decoder::Decoder;

pub(super) use backend::CpuBackend;
pub(crate) use model_view::{check_model, model_view};
pub use packing::{logit_rows, pack, packed_bytes};

/// Tokens that one KV block holds; `kTokensPerBlock` in `cpp/cpu/types.h`.
const TOKENS_PER_BLOCK: usize = 16;

/// Format of the embedding, activations and KV cache in an engine with weights of this format, on this machine.
pub fn state_dtype(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::Int8 if Cpu::detect().bf16 => Dtype::Bf16,
        Dtype::Int8 => Dtype::F32,
        other => other,
    }
}

/// An engine that fits this machine, with its weights in memory.
pub struct CpuFactory {
    directory: PathBuf,
    manifest: Manifest,
    threads: usize,
    limits: Limits,
    max_cached_blocks: usize,
    weights: Arc<Weights>,
    head: Arc<HeadLayers>,
}

impl CpuFactory {
    /// Reads the files of an engine, which need not be those that were built: nothing is verified. For the rest, see
    /// [`CpuFactory::new`].
    ///
    /// # Errors
    /// A file cannot be read, and as for [`CpuFactory::new`].
    pub fn open(directory: &Path, manifest: &Manifest, options: &EngineOptions) -> Result<Self, EngineError> {
        check_processor(directory, manifest)?;
        let head = manifest.head.has_head_layers().then_some(HEAD_FILE);
        let names: Vec<&str> = [WEIGHTS_FILE].into_iter().chain(head).collect();
        let files = EngineFiles::read_unverified(directory, &names)?;
        Self::new(&files, manifest, options)
    }

    /// Checks that the engine was built for this machine, and takes its weights from memory.
    ///
    /// # Errors
    /// It was built for another instruction set or with another oneDNN, its weights are not a safetensors file, or an
    /// option is out of range.
    pub fn new(
        files: &EngineFiles,
        manifest: &Manifest,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        check_processor(files.directory(), manifest)?;
        let weights = Arc::new(Weights::parse(files, WEIGHTS_FILE)?);
        let head = Arc::new(head_layers::parse(files, manifest)?);
        let is_encoder = manifest.model.variant.bidirectional.is_some();
        let moderate = if is_encoder { 0 } else { weights.bytes().len() / 8 / kv_bytes_per_token(manifest) };
        let limits = limits(manifest, options, moderate)?;
        let threads = options.threads.unwrap_or_else(cores::usable);
        let Cpu { instruction_set, onednn, .. } = Cpu::detect();
        tracing::info!(threads, instruction_set, onednn, "opening the CPU engine");
        let kept = options.kv_cache_tokens.unwrap_or(moderate.max(2 * limits.max_num_tokens));
        Ok(Self {
            directory: files.directory().to_owned(),
            manifest: manifest.clone(),
            threads,
            limits,
            max_cached_blocks: if is_encoder { 0 } else { limits.blocks_for(kept).min(limits.kv_blocks) },
            weights,
            head,
        })
    }

    /// Limits of the engines that this factory starts.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl From<CpuFactory> for EngineFactory {
    fn from(factory: CpuFactory) -> Self {
        Self::step(factory)
    }
}

impl StartEngine<dyn StepEngine> for CpuFactory {
    fn start(&mut self) -> Result<Box<dyn StepEngine>, EngineError> {
        let model = model_view(&self.manifest);
        let limits = ffi::CpuLimits {
            threads: self.threads,
            max_num_tokens: self.limits.max_num_tokens,
            kv_blocks: self.limits.kv_blocks,
            cores: cores::one_each(self.threads).into_iter().map(|cpus| ffi::CoreView { cpus }).collect(),
        };
        let (iterations, received) = bounded(1);
        let (reporter, reports) = bounded(1);
        let (opened, opening) = bounded(1);
        let (weights, head) = (Arc::clone(&self.weights), Arc::clone(&self.head));
        let products = self.manifest.products();
        thread::Builder::new()
            .name("cpu-engine".into())
            .spawn(move || match Decoder::open((&model, &limits), weights, products, head) {
                Ok(decoder) => {
                    // If the caller is gone, the channel of iterations is closed, and the loop ends at once.
                    let _ = opened.send(Ok(()));
                    decoder.serve(&received, &reporter);
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|source| EngineError::Thread { thread: "engine", source })?;
        let directory = &self.directory;
        let outcome = opening.recv().map_err(|_| EngineError::Ended(directory.clone()))?;
        outcome.map_err(|source| EngineError::Library { directory: directory.clone(), source })?;
        let Self { limits, max_cached_blocks, .. } = *self;
        let length_classes = rope::length_classes(&self.manifest.model.rope.scaling);
        let sharing = match self.manifest.model.variant.bidirectional {
            Some(_) => PrefixSharing::Nothing,
            None => PrefixSharing::WithinIteration,
        };
        Ok(Box::new(CpuEngine { limits, max_cached_blocks, sharing, length_classes, iterations, reports }))
    }
}

/// The scheduler's end of a running engine.
struct CpuEngine {
    limits: Limits,
    max_cached_blocks: usize,
    sharing: PrefixSharing,
    length_classes: LengthClasses,
    iterations: Sender<Iteration>,
    reports: Receiver<Result<StepReport, StepError>>,
}

impl StepEngine for CpuEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        self.sharing
    }

    fn max_cached_blocks(&self) -> usize {
        self.max_cached_blocks
    }

    fn length_classes(&self) -> LengthClasses {
        self.length_classes
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), StepError> {
        self.iterations.send(iteration).map_err(|_| StepError::Ended)
    }

    fn reports(&self) -> &Receiver<Result<StepReport, StepError>> {
        &self.reports
    }
}

fn check_processor(directory: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    let obstacle = match &manifest.target {
        Target::Cpu { instruction_set } => {
            CpuBackend { manifest, instruction_set }.processor_obstacle(&Cpu::detect())
        }
        Target::TensorrtLlm(_) => Some(Obstacle::ForGpus),
    };
    match obstacle {
        Some(obstacle) => Err(EngineError::Unsuitable { directory: directory.to_owned(), obstacle }),
        None => Ok(()),
    }
}

/// Limits from the manifest and the options. `moderate` is the number of tokens of a KV cache that is small
/// compared with the weights.
fn limits(manifest: &Manifest, options: &EngineOptions, moderate: usize) -> Result<Limits, EngineError> {
    let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
        manifest.limits.lowered(&options.limits)?;
    let is_encoder = manifest.model.variant.bidirectional.is_some();
    if is_encoder && max_num_tokens < max_seq_len {
        return Err(EngineError::SmallBatch { tokens: max_num_tokens, max_seq_len });
    }
    if let Some(threads) = options.threads.filter(|threads| !(1..=cores::MAX_THREADS).contains(threads)) {
        return Err(EngineError::Threads(threads));
    }
    // Short texts fill parts of blocks.
    let texts = if is_encoder { max_batch_size * TOKENS_PER_BLOCK } else { 0 };
    let default_cache = moderate.max(max_seq_len).max(2 * max_num_tokens + texts);
    let kv_cache_tokens = options.kv_cache_tokens.unwrap_or(default_cache);
    if kv_cache_tokens < max_seq_len {
        return Err(EngineError::SmallCache { tokens: kv_cache_tokens, max_seq_len });
    }
    Ok(Limits {
        max_seq_len,
        max_batch_size,
        max_num_tokens,
        kv_blocks: kv_cache_tokens.div_ceil(TOKENS_PER_BLOCK),
        tokens_per_block: TOKENS_PER_BLOCK,
    })
}

/// Bytes of one token's keys and values, all layers together.
fn kv_bytes_per_token(manifest: &Manifest) -> usize {
    let model = &manifest.model;
    let element = match state_dtype(manifest.dtype) {
        Dtype::Bf16 => 2,
        Dtype::F32 | Dtype::Int8 => 4,
    };
    (2 * model.num_layers * model.num_kv_heads * model.head_dim * element).max(1)
}
