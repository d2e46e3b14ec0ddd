//! The embedded CPU engine: a decoder in C++ on oneDNN, driven by a thread of its own.

mod rope;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Chunk, EngineError, EngineFactory, Iteration, Limits, PrefixSharing, StartEngine, StepEngine, StepReport,
};
use crate::engine::bridge::ffi;
use crate::engine::head_layers;
use crate::engine::weights::Weights;
use crate::manifest::{
    Activation, BuildLimits, Dtype, LimitOverrides, Manifest, Model, Norm, QkNorm, Target, WEIGHTS_FILE,
};
use crate::reward::HeadLayers;

/// Tokens that one KV block holds; `kTokensPerBlock` in `cpp/cpu/types.h`.
const TOKENS_PER_BLOCK: usize = 16;

/// oneDNN's version, for example `2.6.3`. Another one may lay weights out otherwise.
pub fn onednn_version() -> String {
    ffi::onednn_version().unwrap_or_else(|_| "unknown".into())
}

/// The instruction set that oneDNN compiles for on this machine, as it names it, in lower case.
pub fn instruction_set() -> String {
    ffi::instruction_set().unwrap_or_else(|_| "unknown".into())
}

/// Whether this processor multiplies bfloat16 by itself.
pub fn supports_bf16() -> bool {
    ffi::supports_bf16().unwrap_or(false)
}

/// Whether this processor sums int8 products by itself.
pub fn supports_int8() -> bool {
    ffi::supports_int8().unwrap_or(false)
}

/// What of a processor decides which engines it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// [`instruction_set`].
    pub instruction_set: String,
    /// [`onednn_version`] of this server.
    pub onednn: String,
    /// [`supports_bf16`].
    pub bf16: bool,
    /// [`supports_int8`].
    pub int8: bool,
}

impl Processor {
    /// This machine's.
    pub fn this() -> Self {
        Self {
            instruction_set: instruction_set(),
            onednn: onednn_version(),
            bf16: supports_bf16(),
            int8: supports_int8(),
        }
    }

    /// Why an engine does not run on it and what to do, as the rest of a sentence that begins with the
    /// engine's name; `None` if it runs.
    pub fn obstacle(&self, manifest: &Manifest) -> Option<String> {
        let Self { instruction_set: here, onednn: version, .. } = self;
        let built_with = &manifest.built_with.onednn;
        let reason = match &manifest.target {
            Target::TensorrtLlm(_) => "was built for NVIDIA GPUs".to_owned(),
            Target::Cpu { instruction_set: built_for } if built_for != here => {
                format!("was built for processors with {built_for}, this one has {here}")
            }
            _ if built_with != version => {
                format!("was built with oneDNN {built_with}, this server runs {version}")
            }
            _ if manifest.dtype == Dtype::Bf16 && !self.bf16 => {
                "computes in bfloat16, which this processor does not".to_owned()
            }
            _ if manifest.dtype == Dtype::Int8 && !self.int8 => {
                "computes in int8, which this processor does not".to_owned()
            }
            _ => return None,
        };
        Some(format!("{reason}; run `build-engine --target cpu` on this machine to build it again"))
    }
}

/// Type of embedding, activations and KV cache in an engine of this type on this machine.
pub fn state_dtype(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::Int8 if supports_bf16() => Dtype::Bf16,
        Dtype::Int8 => Dtype::F32,
        other => other,
    }
}

fn view(dtype: Dtype) -> ffi::DtypeView {
    match dtype {
        Dtype::F32 => ffi::DtypeView::F32,
        Dtype::Bf16 => ffi::DtypeView::Bf16,
        Dtype::Int8 => ffi::DtypeView::Int8,
    }
}

/// Bytes of a packed `[out, inp]` matrix, rounded up to 64.
///
/// # Errors
/// oneDNN has no product of this shape and type here.
pub fn packed_bytes(dtype: Dtype, out: usize, inp: usize) -> Result<usize, EngineError> {
    ffi::packed_bytes(view(dtype), out, inp).map_err(load_error)
}

/// Packs `source`, row-major `[out, inp]` in `dtype`, of int8 already quantized, into `packed`, [`packed_bytes`] long.
///
/// # Errors
/// The lengths do not fit the shape, or oneDNN has no product of this shape and type here.
pub fn pack(
    dtype: Dtype,
    out: usize,
    inp: usize,
    source: &[u8],
    packed: &mut [u8],
) -> Result<(), EngineError> {
    ffi::pack(view(dtype), out, inp, source, packed).map_err(load_error)
}

fn load_error(error: cxx::Exception) -> EngineError {
    EngineError::Load(error.what().to_owned())
}

/// What may be chosen when an engine is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads of the engine; all cores unless given.
    pub threads: Option<usize>,
    /// Tokens whose keys and values the cache holds. Unless given: what fits an eighth of the weights,
    /// and at least one longest sequence and two full iterations; of which no more than an eighth of the
    /// weights or two iterations are kept for their prefixes.
    pub kv_cache_tokens: Option<usize>,
    /// Lower limits than the engine was built with.
    pub limits: LimitOverrides,
}

/// An engine directory, mapped and found to fit this machine.
pub struct CpuFactory {
    directory: PathBuf,
    manifest: Manifest,
    options: Options,
    limits: Limits,
    max_cached_blocks: usize,
    weights: Arc<Weights>,
    head: Arc<HeadLayers>,
}

impl CpuFactory {
    /// Maps the weights and checks that they were laid out for this machine.
    ///
    /// # Errors
    /// The engine was built for another instruction set or with another oneDNN, its weights cannot be
    /// mapped, or an option is out of range. Each is a sentence that says what to do.
    pub fn open(directory: &Path, manifest: &Manifest, options: Options) -> Result<Self, EngineError> {
        check_machine(directory, manifest)?;
        let weights = Arc::new(Weights::map(&directory.join(WEIGHTS_FILE))?);
        let head = Arc::new(head_layers::open(directory, manifest)?);
        let moderate = weights.bytes().len() / 8 / kv_bytes_per_token(manifest);
        let limits = limits(manifest, options, moderate)?;
        let kept = options.kv_cache_tokens.unwrap_or(moderate.max(2 * limits.max_num_tokens));
        Ok(Self {
            directory: directory.to_owned(),
            manifest: manifest.clone(),
            options,
            limits,
            max_cached_blocks: limits.blocks_for(kept).min(limits.kv_blocks),
            weights,
            head,
        })
    }

    /// What engines of this factory hold and compute at once.
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
            threads: self.options.threads.unwrap_or(0),
            max_num_tokens: self.limits.max_num_tokens,
            kv_blocks: self.limits.kv_blocks,
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
                    // Whoever asked may have gone; then the loop below ends at once.
                    let _ = opened.send(Ok(()));
                    decoder.serve(&received, &reporter);
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|error| EngineError::Load(format!("the engine's thread cannot start: {error}")))?;
        let outcome = opening.recv().unwrap_or_else(|_| Err("its thread ended while it loaded".into()));
        outcome.map_err(|reason| {
            EngineError::Load(format!("{} cannot be loaded: {reason}", self.directory.display()))
        })?;
        let Self { limits, max_cached_blocks, .. } = *self;
        Ok(Box::new(CpuEngine { limits, max_cached_blocks, iterations, reports }))
    }
}

/// The scheduler's end of a running engine.
struct CpuEngine {
    limits: Limits,
    max_cached_blocks: usize,
    iterations: Sender<Iteration>,
    reports: Receiver<Result<StepReport, EngineError>>,
}

impl StepEngine for CpuEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        PrefixSharing::WithinIteration
    }

    fn max_cached_blocks(&self) -> usize {
        self.max_cached_blocks
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), EngineError> {
        self.iterations
            .send(iteration)
            .map_err(|_| EngineError::Step("the engine's thread has ended; start the server again".into()))
    }

    fn reports(&self) -> &Receiver<Result<StepReport, EngineError>> {
        &self.reports
    }
}

/// The engine thread's end: the C++ decoder and the memory that it reads.
struct Decoder {
    // Before the weights, so that it is dropped before them.
    engine: cxx::UniquePtr<ffi::CpuEngine>,
    _weights: Arc<Weights>,
    /// Numbers that the decoder computes for each token read.
    products: usize,
    /// What follows them.
    head: Arc<HeadLayers>,
}

impl Decoder {
    fn open(
        (model, limits): (&ffi::CpuModel, &ffi::CpuLimits),
        weights: Arc<Weights>,
        products: usize,
        head: Arc<HeadLayers>,
    ) -> Result<Self, String> {
        let tensors: Vec<_> = weights
            .tensors()
            .iter()
            .map(|(name, bytes)| ffi::TensorView { name: name.clone(), begin: bytes.start, end: bytes.end })
            .collect();
        // SAFETY: `Self` keeps the weights mapped until the engine is dropped; fields drop in order.
        let engine = unsafe { ffi::open_cpu(model, limits, &tensors, weights.bytes()) }
            .map_err(|error| error.what().to_owned())?;
        Ok(Self { engine, _weights: weights, products, head })
    }

    fn serve(mut self, iterations: &Receiver<Iteration>, reports: &Sender<Result<StepReport, EngineError>>) {
        for iteration in iterations {
            if reports.send(self.run(&iteration)).is_err() {
                return;
            }
        }
    }

    fn run(&mut self, iteration: &Iteration) -> Result<StepReport, EngineError> {
        let started = Instant::now();
        let mut reads = Vec::new();
        let mut view = |chunk: &Chunk| {
            let read_begin = reads.len();
            reads.extend_from_slice(&chunk.logits);
            ffi::ChunkView {
                token_begin: chunk.tokens.start,
                token_end: chunk.tokens.end,
                position: chunk.position,
                block_begin: chunk.blocks.start,
                block_end: chunk.blocks.end,
                read_begin,
                read_end: reads.len(),
            }
        };
        let chunks: Vec<_> = iteration.chunks.iter().map(&mut view).collect();
        let mut products = vec![0.0; reads.len() * self.products];
        self.engine
            .pin_mut()
            .run(&iteration.token_ids, &iteration.block_table, &chunks, &reads, &mut products)
            .map_err(|error| EngineError::Step(error.what().to_owned()))?;
        let logits = self.head.apply(products);
        let width = logits.len() / reads.len().max(1);
        let mut rest = logits.as_slice();
        let mut by_sequence = Vec::new();
        for chunk in iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty()) {
            let (own, others) = rest.split_at(chunk.logits.len() * width);
            rest = others;
            by_sequence.push((chunk.sequence, own.to_vec()));
        }
        Ok(StepReport { logits: by_sequence, elapsed: started.elapsed(), ..StepReport::default() })
    }
}

fn check_machine(directory: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    match Processor::this().obstacle(manifest) {
        Some(reason) => Err(EngineError::Load(format!("{} {reason}", directory.display()))),
        None => Ok(()),
    }
}

/// `moderate`: tokens of a KV cache that is small beside the weights.
fn limits(manifest: &Manifest, options: Options, moderate: usize) -> Result<Limits, EngineError> {
    let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
        manifest.limits.lowered(&options.limits)?;
    if options.threads == Some(0) {
        return Err(EngineError::Load("threads is 0; it must be at least 1".to_owned()));
    }
    let default_cache = moderate.max(max_seq_len).max(2 * max_num_tokens);
    let kv_cache_tokens = options.kv_cache_tokens.unwrap_or(default_cache);
    if kv_cache_tokens < max_seq_len {
        return Err(EngineError::Load(format!(
            "kv_cache_tokens is {kv_cache_tokens}, less than one sequence of max_seq_len {max_seq_len}; \
             raise it or lower max_seq_len"
        )));
    }
    Ok(Limits {
        max_seq_len,
        max_batch_size,
        max_num_tokens,
        kv_blocks: kv_cache_tokens.div_ceil(TOKENS_PER_BLOCK),
        tokens_per_block: TOKENS_PER_BLOCK,
    })
}

/// Bytes of one token's keys and values in all layers.
fn kv_bytes_per_token(manifest: &Manifest) -> usize {
    let model = &manifest.model;
    let element = match state_dtype(manifest.dtype) {
        Dtype::Bf16 => 2,
        Dtype::F32 | Dtype::Int8 => 4,
    };
    (2 * model.num_layers * model.num_kv_heads * model.head_dim * element).max(1)
}

/// What the C++ decoder computes for an engine.
pub(crate) fn model_view(manifest: &Manifest) -> ffi::CpuModel {
    let (model, variant) = (&manifest.model, &manifest.model.variant);
    ffi::CpuModel {
        dtype: view(manifest.dtype),
        vocab_size: model.vocab_size,
        hidden_size: model.hidden_size,
        num_layers: model.num_layers,
        embedding_scale: variant.embedding_scale,
        norms: ffi::NormView {
            eps: model.norm_eps,
            layer_norm: variant.norm == Norm::Layer,
            pre_norms: variant.pre_norms,
            post_norms: variant.post_norms,
        },
        attention: attention_view(model),
        feed_forward: ffi::FeedForwardView {
            intermediate_size: model.intermediate_size,
            activation: match variant.activation {
                Activation::Silu => ffi::ActivationView::Silu,
                Activation::GeluTanh => ffi::ActivationView::GeluTanh,
                Activation::Relu2 => ffi::ActivationView::Relu2,
            },
            bias: model.mlp_bias,
        },
        head: ffi::HeadView {
            rows: manifest.products(),
            vocabulary: manifest.task.generates(),
            softcap: manifest.head.softcap.unwrap_or(0.0),
        },
    }
}

fn attention_view(model: &Model) -> ffi::AttentionView {
    let variant = &model.variant;
    let rope = |rope| {
        let dim = variant.rotary_dim.unwrap_or(model.head_dim);
        let (inverse_frequencies, factor) = rope::inverse_frequencies(rope, dim);
        ffi::RopeView { inverse_frequencies, factor }
    };
    let mut windows = vec![0; model.num_layers];
    if let Some(window) = &variant.sliding_window {
        for &layer in &window.layers {
            if let Some(keys) = windows.get_mut(layer) {
                *keys = window.keys;
            }
        }
    }
    let window_rope = variant.sliding_window.as_ref().and_then(|window| window.rope.as_ref());
    ffi::AttentionView {
        num_heads: model.num_heads,
        num_kv_heads: model.num_kv_heads,
        head_dim: model.head_dim,
        qkv_bias: model.qkv_bias,
        output_bias: model.output_bias,
        qk_norm: match variant.qk_norm {
            QkNorm::None => ffi::QkNormView::None,
            QkNorm::EachHead => ffi::QkNormView::EachHead,
            QkNorm::AllHeads => ffi::QkNormView::AllHeads,
        },
        scale: variant.attention_scale.unwrap_or_else(|| (model.head_dim as f32).powf(-0.5)),
        softcap: variant.attention_softcap.unwrap_or(0.0),
        windows,
        rope: rope(&model.rope),
        window_rope: rope(window_rope.unwrap_or(&model.rope)),
    }
}
