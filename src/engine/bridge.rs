//! The one bridge between Rust and C++; the other side is `cpp/bridge.h`.
// cxx makes its own items; they are as public as this module.
#![allow(missing_docs, unreachable_pub)]

#[cxx::bridge(namespace = "assay::bridge")]
pub(crate) mod ffi {
    /// The model and the sizes it runs at.
    struct CpuConfig {
        dtype: DtypeView,
        vocab_size: usize,
        hidden_size: usize,
        intermediate_size: usize,
        num_layers: usize,
        num_heads: usize,
        num_kv_heads: usize,
        head_dim: usize,
        norm_eps: f32,
        qkv_bias: bool,
        output_bias: bool,
        mlp_bias: bool,
        layer_norm: bool,
        qk_norm: bool,
        post_norms: bool,
        activation: ActivationView,
        embedding_scale: f32,
        attention_scale: f32,
        /// 0: none.
        attention_softcap: f32,
        /// Of each layer; 0: none.
        windows: Vec<usize>,
        head_rows: usize,
        /// Whether the head is the vocabulary's.
        lm_head: bool,
        /// 0: none.
        logit_softcap: f32,
        rope: RopeView,
        /// Of layers with a window.
        window_rope: RopeView,
        /// 0: one for each core.
        threads: usize,
        max_num_tokens: usize,
        kv_blocks: usize,
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
    }

    /// Rotary frequencies and the factor on cosine and sine.
    struct RopeView {
        inverse_frequencies: Vec<f32>,
        factor: f32,
    }

    /// A tensor's name and its bytes within the weights.
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
        block_begin: usize,
        block_end: usize,
        /// Where the places of the tokens whose logits are wanted stand in `reads`.
        read_begin: usize,
        read_end: usize,
    }

    /// How a TensorRT-LLM engine is run; 0 and "" stand for what is not given.
    #[cfg(feature = "trtllm")]
    struct TrtllmConfig {
        directory: String,
        head_rows: usize,
        max_batch_size: usize,
        max_num_tokens: usize,
        max_queue_size: usize,
        kv_cache_tokens: usize,
        kv_cache_fraction: f32,
        /// Host memory for KV blocks that do not fit the GPU's.
        kv_cache_host_bytes: usize,
        block_reuse: bool,
        chunked_context: bool,
        allotted_ms: u64,
        ranks: usize,
        /// The library's worker, if it is to spawn the ranks.
        worker: String,
    }

    /// A sequence, and where its tokens stand.
    #[cfg(feature = "trtllm")]
    struct TrtllmSequence {
        id: u64,
        token_begin: usize,
        token_end: usize,
        /// Behind its tokens: those each of which ends it.
        stop_end: usize,
        /// 0: score.
        max_tokens: usize,
        sampling: TrtllmSampling,
        /// Added to the logits of some tokens.
        bias: Vec<TrtllmBias>,
        /// Whether a token comes with the logits that it was chosen of.
        logits: bool,
        priority: f32,
    }

    /// How tokens are chosen; temperature 0 takes the likeliest.
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

    /// What is added to a token's logit.
    #[cfg(feature = "trtllm")]
    struct TrtllmBias {
        token: u32,
        bias: f32,
    }

    /// Whether a sequence goes on.
    #[cfg(feature = "trtllm")]
    enum TrtllmEnding {
        None,
        Complete,
        Stopped,
        Failed,
    }

    /// What became of a sequence since the last answer.
    #[cfg(feature = "trtllm")]
    struct TrtllmAnswer {
        id: u64,
        ending: TrtllmEnding,
        /// Whether it was to be scored.
        scored: bool,
        tokens: Vec<u32>,
        /// Of a score; or of each token, one behind the other, if asked for.
        logits: Vec<f32>,
        /// Of the prompt, KV blocks that were found.
        reused_blocks: usize,
        /// Why it failed, was cancelled or timed out.
        error: String,
    }

    /// Iterations of a TensorRT-LLM engine since last asked, and its KV cache now.
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
        include!("assay/cpp/trtllm/handle.h");

        type TrtllmHandle;

        fn leave(status: i32);
        fn open_trtllm(config: &TrtllmConfig) -> Result<SharedPtr<TrtllmHandle>>;
        fn leads(self: &TrtllmHandle) -> Result<bool>;
        fn follow(self: &TrtllmHandle) -> Result<()>;
        fn enqueue(self: &TrtllmHandle, sequences: &[TrtllmSequence], token_ids: &[u32]) -> Result<()>;
        fn await_answers(self: &TrtllmHandle, timeout_ms: u64) -> Result<Vec<TrtllmAnswer>>;
        fn cancel(self: &TrtllmHandle, sequence: u64) -> Result<()>;
        fn cancel_all(self: &TrtllmHandle) -> Result<()>;
        fn in_flight(self: &TrtllmHandle) -> Result<usize>;
        fn statistics(self: &TrtllmHandle) -> Result<TrtllmStatistics>;
        fn shutdown(self: &TrtllmHandle) -> Result<()>;
    }

    unsafe extern "C++" {
        include!("assay/cpp/bridge.h");

        type Handle;

        fn run(
            self: Pin<&mut Handle>,
            token_ids: &[u32],
            block_table: &[u32],
            chunks: &[ChunkView],
            reads: &[usize],
            logits: &mut [f32],
        ) -> Result<()>;

        /// # Safety
        /// `weights` stays mapped and unchanged for as long as the handle lives.
        unsafe fn open_cpu(
            config: &CpuConfig,
            tensors: &[TensorView],
            weights: &[u8],
        ) -> Result<UniquePtr<Handle>>;

        type Ceiling;
        fn open_ceiling(config: &CpuConfig, rows: usize) -> Result<UniquePtr<Ceiling>>;
        fn seconds(self: Pin<&mut Ceiling>) -> Result<f64>;

        fn onednn_version() -> Result<String>;
        fn instruction_set() -> Result<String>;
        fn supports_bf16() -> Result<bool>;
        fn supports_int8() -> Result<bool>;
        fn packed_bytes(dtype: DtypeView, out: usize, inp: usize) -> Result<usize>;
        fn pack(dtype: DtypeView, out: usize, inp: usize, source: &[u8], packed: &mut [u8]) -> Result<()>;
    }
}
