//! What TensorRT-LLM 1.2.1 calls each family, and what its models cannot express.

use crate::builder::BuildError;
use crate::manifest::{Family, Model, Quantization, RopeScaling, Task};

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

/// The architecture whose head has as many rows as wanted.
pub(super) const SMALL_HEAD: &str = "Qwen2ForSequenceClassification";

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

/// Refuses a small head where TensorRT-LLM has no such form: its `Qwen2ForSequenceClassification` alone has a
/// head of as many rows as wanted, and layers as Qwen's and, without biases, Llama's are.
pub(super) fn check_small_head(model: &Model, task: Task) -> Result<(), BuildError> {
    let refuse = |what: &str| Err(BuildError::Option(format!("--small-head: {what}; leave it out")));
    let qwen = matches!(model.family, Family::Qwen2 | Family::Qwen3);
    if task != Task::Reward {
        return refuse("a model that generates needs all rows of the vocabulary's head");
    }
    if !qwen && !is_llama(model.family) {
        return refuse(&format!(
            "TensorRT-LLM has a head of fewer rows than the vocabulary for Llama's and Qwen's layers only, and {} is of \
             {:?}",
            model.name, model.family
        ));
    }
    if !qwen && (model.qkv_bias || model.output_bias || model.mlp_bias) {
        return refuse("TensorRT-LLM's model with such a head has none of this checkpoint's biases");
    }
    Ok(())
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
