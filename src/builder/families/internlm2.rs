//! InternLM2.

use super::llama;
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "intern_lm2",
    title: "InternLM2",
    architecture: "InternLM2",
    model_type: "internlm2",
    in_transformers: false,
    defaults: Defaults {
        max_position_embeddings: 2048,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::If("bias"), output: Bias::If("bias"), mlp: Bias::Absent },
    norms: Norms { inputs: Some(["attention_norm", "ffn_norm"]), ..Norms::RMS },
    tensors: TensorNames {
        embedding: "model.tok_embeddings.weight",
        lm_head: "output.weight",
        final_norm: "model.norm",
        layers: "model.layers",
        qkv: Qkv::FusedByKvHead("attention.wqkv"),
        attention_output: "attention.wo",
        gate_up: GateUp::Separate(["feed_forward.w1", "feed_forward.w3"]),
        down: "feed_forward.w2",
        transposed: false,
    },
    trtllm: Ok(TrtllmSpec { exported_as: Some("InternLM2ForCausalLM"), ..llama::TRTLLM }),
    ..FamilySpec::COMMON
};
