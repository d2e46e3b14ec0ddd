//! The one bridge between Rust and C++; the other side is `cpp/bridge.h`.
// cxx makes its own items; they are as public as this module.
#![allow(missing_docs, unreachable_pub)]

#[cxx::bridge(namespace = "assay::bridge")]
pub(super) mod ffi {
    /// The model and the sizes it runs at.
    struct CpuConfig {
        bf16: bool,
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
        head_bias: bool,
        /// 0: none.
        head_hidden: usize,
        rope: RopeView,
        /// Of layers with a window.
        window_rope: RopeView,
        /// 0: one for each core.
        threads: usize,
        max_num_tokens: usize,
        kv_blocks: usize,
    }

    /// [`crate::engine::manifest::Activation`].
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
        logits: bool,
    }

    unsafe extern "C++" {
        include!("assay/cpp/bridge.h");

        type Handle;

        fn run(
            self: Pin<&mut Handle>,
            token_ids: &[u32],
            block_table: &[u32],
            chunks: &[ChunkView],
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
        fn packed_bytes(bf16: bool, out: usize, inp: usize) -> Result<usize>;
        fn pack(bf16: bool, out: usize, inp: usize, source: &[u8], packed: &mut [u8]) -> Result<()>;
    }
}
