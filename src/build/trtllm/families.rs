//! What TensorRT-LLM 1.2.1 calls each family, and what its models cannot express.

use crate::build::{BuildError, head};
use crate::engine::manifest::{Family, Model, Quantization, RopeScaling};

use super::mapping::Mapping;

/// The architecture whose layers are the family's.
pub(super) fn architecture(family: Family) -> &'static str {
    match family {
        Family::Llama => "LlamaForCausalLM",
        Family::Mistral => "MistralForCausalLM",
        Family::InternLm2 => "InternLM2ForCausalLM",
        Family::Qwen2 => "Qwen2ForCausalLM",
        Family::Qwen3 => "Qwen3ForCausalLM",
        Family::Gemma2 => "Gemma2ForCausalLM",
        Family::Gemma3 => "Gemma3ForCausalLM",
        Family::Nemotron => "NemotronForCausalLM",
        Family::Phi3 => "Phi3ForCausalLM",
    }
}

/// Whether all layers of the family, norms included, are built of the same classes as Llama's.
pub(super) fn is_llama(family: Family) -> bool {
    matches!(family, Family::Llama | Family::Mistral | Family::InternLm2)
}

/// Refuses what would be computed otherwise than the model was trained.
pub(super) fn check_model(model: &Model, quantization: &Quantization) -> Result<(), BuildError> {
    let refuse = |what: &str| {
        let name = &model.name;
        let hint = "build it for --target cpu";
        Err(BuildError::Option(format!("{name}: TensorRT-LLM's {:?} has no {what}; {hint}", model.family)))
    };
    let scaling = &model.rope.scaling;
    if matches!(scaling, RopeScaling::Yarn { .. }) {
        return refuse("YaRN (its rotary table would be of wrong frequencies)");
    }
    if model.family == Family::Gemma3 && *scaling != RopeScaling::Default {
        return refuse("rotary scaling of the layers without a window");
    }
    let (qkv, output, mlp) = (model.qkv_bias, model.output_bias, model.mlp_bias);
    let biases = match model.family {
        Family::Qwen2 | Family::Qwen3 => !output && !mlp,
        Family::Nemotron => qkv == output && output == mlp,
        Family::Phi3 => !qkv && !output && !mlp,
        _ => qkv == output,
    };
    if !biases {
        return refuse("biases of only some of the projections that this checkpoint has them of");
    }
    if model.family == Family::Phi3 && model.head_dim * model.num_heads != model.hidden_size {
        return refuse("heads of another width than hidden_size / num_attention_heads");
    }
    let rms_only = is_llama(model.family) || matches!(model.family, Family::Qwen2 | Family::Phi3);
    if *quantization == Quantization::Fp8 && !rms_only {
        let reason = format!(
            "--quantization fp8: TensorRT-LLM quantizes {:?}'s layers to fp8 only with calibrated scales; quantize \
             with NVIDIA's modelopt and give its output with --quantized DIR, or take int8-weight-only",
            model.family
        );
        return Err(BuildError::Option(reason));
    }
    Ok(())
}

/// Refuses heads that cannot be rows of `lm_head`.
pub(super) fn check_head(head: &head::Head, model: &Model) -> Result<(), BuildError> {
    let what = if head.step_token.is_some() {
        "is read at every step, and TensorRT-LLM gives the last token's logits only"
    } else if head.gating.is_some() {
        "is mixed by a gating network read where the prompt ends, and TensorRT-LLM gives the last token's logits only"
    } else if head.hidden.is_some() {
        "is of two layers with ReLU between, which TensorRT-LLM's models have no place for"
    } else {
        return Ok(());
    };
    let reason =
        format!("{} ({}): its head {what}; build it for --target cpu", model.name, model.architecture);
    Err(BuildError::Option(reason))
}

/// Refuses ranks that cannot divide the model.
pub(super) fn check_mapping(model: &Model, mapping: Mapping) -> Result<(), BuildError> {
    let refuse = |reason: String| Err(BuildError::Option(reason));
    let (tp, pp) = (mapping.tensor_parallel, mapping.pipeline_parallel);
    if tp == 0 || pp == 0 {
        return refuse("--tp and --pp must be at least 1".to_owned());
    }
    let (heads, kv) = (model.num_heads, model.num_kv_heads);
    if !heads.is_multiple_of(tp) {
        let possible: Vec<String> =
            (1..=heads.min(64)).filter(|n| heads.is_multiple_of(*n)).map(|n| n.to_string()).collect();
        return refuse(format!(
            "--tp {tp} does not divide the {heads} attention heads of {}; possible are {}",
            model.name,
            possible.join(", ")
        ));
    }
    if !kv.is_multiple_of(tp) && !tp.is_multiple_of(kv) {
        return refuse(format!(
            "--tp {tp} neither divides the {kv} key-value heads of {} nor is a multiple of them",
            model.name
        ));
    }
    if !model.intermediate_size.is_multiple_of(tp) {
        return refuse(format!("--tp {tp} does not divide intermediate_size, {}", model.intermediate_size));
    }
    if pp > model.num_layers {
        return refuse(format!("--pp {pp} is more than the {} layers of {}", model.num_layers, model.name));
    }
    if pp > 1 && model.family == Family::Phi3 {
        return refuse("--pp: TensorRT-LLM's Phi-3 cannot be divided into stages; use --tp".to_owned());
    }
    Ok(())
}
