//! The bridge between Rust and C++; its other side is `cpp/cpu/bridge.h` and `cpp/trtllm/bridge.h`.
// cxx generates items that these lints would complain about.
#![allow(missing_docs, unreachable_pub)]

#[cxx::bridge(namespace = "assay::bridge")]
pub(crate) mod ffi {
    /// What a CPU engine computes.
    struct CpuModel {
        dtype: DtypeView,
        vocab_size: usize,
        hidden_size: usize,
        num_layers: usize,
        embedding_scale: f32,
        parallel_residual: bool,
        residual_scale: f32,
        norms: NormView,
        attention: AttentionView,
        feed_forward: FeedForwardView,
        head: HeadView,
        positions: PositionsView,
        encoder: EncoderView,
    }

    /// [`crate::manifest::LearnedPositions`].
    struct PositionsView {
        /// 0: none.
        rows: usize,
        first: usize,
        skips_padding: bool,
        padding: u32,
    }

    /// [`crate::manifest::Bidirectional`].
    struct EncoderView {
        /// Whether the model is an encoder; if not, the other fields are ignored.
        present: bool,
        final_norm: bool,
        /// 0: none.
        segments: usize,
        /// `u32::MAX`: none.
        separator: u32,
        relative: RelativeView,
        /// Whether the head reads the mean of all tokens.
        mean: bool,
    }

    /// [`crate::manifest::RelativePositions`].
    struct RelativeView {
        /// 0: none.
        span: usize,
        /// 0: each distance has its own row.
        buckets: usize,
        longest: usize,
        normed: bool,
        with_queries: bool,
        with_keys: bool,
        shared_projections: bool,
    }

    struct NormView {
        eps: f32,
        layer_norm: bool,
        pre_norms: bool,
        post_norms: bool,
        sum_norms: bool,
    }

    struct AttentionView {
        num_heads: usize,
        num_kv_heads: usize,
        head_dim: usize,
        qkv_bias: bool,
        output_bias: bool,
        qk_norm: QkNormView,
        scale: f32,
        /// 0: none.
        softcap: f32,
        /// [`crate::manifest::QueryGrowth`]; 0: none.
        query_growth: f32,
        query_growth_length: usize,
        /// One per layer; 0: all keys.
        windows: Vec<usize>,
        rope: RopeView,
        /// For layers with a sliding window.
        window_rope: RopeView,
    }

    struct FeedForwardView {
        intermediate_size: usize,
        activation: ActivationView,
        bias: bool,
        experts: ExpertsView,
    }

    /// [`crate::manifest::Experts`].
    struct ExpertsView {
        /// 0: none.
        count: usize,
        active: usize,
        intermediate_size: usize,
        normalized: bool,
        /// 0: none.
        shared_intermediate_size: usize,
        layers: Vec<usize>,
    }

    struct HeadView {
        rows: usize,
        /// Whether the matrix is the language model's.
        vocabulary: bool,
        /// 0: none.
        softcap: f32,
    }

    struct CpuLimits {
        /// 0: one for each core.
        threads: usize,
        max_num_tokens: usize,
        kv_blocks: usize,
        /// The core of each thread; empty where the system is to choose.
        cores: Vec<CoreView>,
    }

    struct CoreView {
        cpus: Vec<usize>,
    }

    /// [`crate::manifest::Dtype`].
    enum DtypeView {
        F32,
        Bf16,
        Int8,
    }

    /// [`crate::manifest::Activation`].
    enum ActivationView {
        Silu,
        GeluTanh,
        Relu2,
        Gelu,
        GatedGelu,
        PlainGeluTanh,
    }

    /// [`crate::manifest::QkNorm`].
    enum QkNormView {
        None,
        EachHead,
        AllHeads,
        OwnHead,
    }

    /// Rotary frequencies and the factor on cosine and sine.
    struct RopeView {
        inverse_frequencies: Vec<f32>,
        factor: f32,
        /// Texts of more tokens have other frequencies. 0: all texts have the same.
        usual_tokens: usize,
        /// The frequencies of longer texts. Empty: they follow from the length of the text (NTK).
        long_inverse_frequencies: Vec<f32>,
        ntk_theta: f64,
        ntk_factor: f64,
    }

    /// A tensor's name and the range of its bytes among the weights.
    struct TensorView {
        name: String,
        begin: usize,
        end: usize,
    }

    /// [`crate::engine::Chunk`].
    struct ChunkView {
        token_begin: usize,
        token_end: usize,
        position: usize,
        text_tokens: usize,
        block_begin: usize,
        block_end: usize,
        /// Range in `reads` of the tokens to read.
        read_begin: usize,
        read_end: usize,
    }

    /// How to run a TensorRT-LLM engine; 0 and "" mean the library's default.
    #[cfg(feature = "trtllm")]
    struct TrtllmConfig {
        directory: String,
        head_rows: usize,
        max_batch_size: usize,
        max_num_tokens: usize,
        max_queue_size: usize,
        kv_cache_tokens: usize,
        kv_cache_fraction: f32,
        /// Host memory for KV blocks that do not fit in the GPU's.
        kv_cache_host_bytes: usize,
        block_reuse: bool,
        chunked_context: bool,
        /// Whether sequences generate; if not, every one is scored.
        generates: bool,
        /// For each layer, the keys that a query sees; empty if no window is shorter than the longest sequence.
        attention_windows: Vec<usize>,
        ranks: usize,
        /// The library's worker program, if the library is to spawn the ranks.
        worker: String,
    }

    /// A sequence, with its token ids as ranges of those handed over.
    #[cfg(feature = "trtllm")]
    struct TrtllmSequence {
        id: u64,
        token_begin: usize,
        token_end: usize,
        /// The stop tokens follow its own: `token_end..stop_end`.
        stop_end: usize,
        /// 0: score it.
        max_tokens: usize,
        sampling: TrtllmSampling,
        /// Added to the logits of some tokens.
        bias: Vec<TrtllmBias>,
        /// Whether each generated token comes with its logits.
        logits: bool,
        priority: f32,
    }

    /// How to choose tokens; temperature 0 takes the likeliest.
    #[cfg(feature = "trtllm")]
    #[derive(Clone)]
    struct TrtllmSampling {
        temperature: f32,
        top_k: usize,
        top_p: f32,
        min_p: f32,
        repetition_penalty: f32,
        presence_penalty: f32,
        frequency_penalty: f32,
        seed: u64,
        min_tokens: usize,
    }

    /// An addition to a token's logit.
    #[cfg(feature = "trtllm")]
    struct TrtllmBias {
        token: u32,
        bias: f32,
    }

    #[cfg(feature = "trtllm")]
    enum TrtllmState {
        /// More answers follow.
        Running,
        Finished,
        Failed,
    }

    /// What became of a sequence since its last answer.
    #[cfg(feature = "trtllm")]
    struct TrtllmAnswer {
        id: u64,
        state: TrtllmState,
        /// Whether it was sent to be scored.
        scored: bool,
        tokens: Vec<u32>,
        /// `[head rows]` for a score; `[tokens, head rows]` for generated tokens, if requested.
        logits: Vec<f32>,
        /// KV blocks of the prompt that were in the cache.
        reused_blocks: usize,
        /// Why it failed, was cancelled or timed out.
        error: String,
    }

    /// A TensorRT-LLM engine's iterations since the last call, and its KV cache now.
    #[cfg(feature = "trtllm")]
    struct TrtllmStatistics {
        iterations: usize,
        tokens: usize,
        milliseconds: f64,
        sequences: usize,
        kv_blocks: usize,
        kv_blocks_free: usize,
        kv_blocks_reused: usize,
        tokens_per_block: usize,
    }

    #[cfg(feature = "trtllm")]
    unsafe extern "C++" {
        include!("assay/cpp/trtllm/bridge.h");

        type TrtllmExecutor;

        fn open_trtllm(config: &TrtllmConfig) -> Result<SharedPtr<TrtllmExecutor>>;
        fn is_leader(self: &TrtllmExecutor) -> Result<bool>;
        fn run_worker(self: &TrtllmExecutor) -> Result<()>;
        fn enqueue(self: &TrtllmExecutor, sequences: &[TrtllmSequence], token_ids: &[u32]) -> Result<()>;
        fn await_answers(self: &TrtllmExecutor, timeout_ms: u64) -> Result<Vec<TrtllmAnswer>>;
        fn cancel(self: &TrtllmExecutor, sequence: u64) -> Result<()>;
        fn cancel_all(self: &TrtllmExecutor) -> Result<()>;
        fn in_flight(self: &TrtllmExecutor) -> Result<usize>;
        fn statistics(self: &TrtllmExecutor) -> Result<TrtllmStatistics>;
        fn shutdown(self: &TrtllmExecutor) -> Result<()>;
    }

    unsafe extern "C++" {
        include!("assay/cpp/cpu/bridge.h");

        type CpuEngine;

        fn run(
            self: Pin<&mut CpuEngine>,
            token_ids: &[u32],
            block_table: &[u32],
            chunks: &[ChunkView],
            reads: &[usize],
            logits: &mut [f32],
        ) -> Result<()>;

        /// # Safety
        /// `weights` must stay mapped and unchanged for as long as the engine lives.
        unsafe fn open_cpu(
            model: &CpuModel,
            limits: &CpuLimits,
            tensors: &[TensorView],
            weights: &[u8],
        ) -> Result<UniquePtr<CpuEngine>>;

        fn check_cpu(model: &CpuModel) -> Result<()>;

        type Roofline;
        fn open_roofline(model: &CpuModel, threads: usize, rows: usize) -> Result<UniquePtr<Roofline>>;
        fn seconds(self: Pin<&mut Roofline>) -> Result<f64>;

        fn packed_bytes(dtype: DtypeView, out: usize, inp: usize) -> Result<usize>;
        fn pack(dtype: DtypeView, out: usize, inp: usize, source: &[u8], packed: &mut [u8]) -> Result<()>;
    }
}

/// Ends the process at once, without exit handlers.
///
/// They would take down what the libraries keep (oneDNN's caches, OpenMP's threads) while an engine's thread may still
/// compute. MPI's waits for every other rank, and hangs if one is lost or still loading; if this rank just ends, the
/// launcher notices and ends the others.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(status.into()) }
}
