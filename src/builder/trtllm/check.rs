//! What TensorRT-LLM 1.2.1 cannot do, and ranks that cannot divide a model.

use super::mapping::Mapping;
use crate::builder::BuildError;
use crate::builder::families::spec::TrtllmSpec;
use crate::builder::families::{self, FamilySpec};
use crate::manifest::{Model, QkNorm, Quantization, RopeScaling, TENSORRT_LLM, Task};

/// The architecture whose head has as many rows as wanted.
pub(super) const SMALL_HEAD: &str = "Qwen2ForSequenceClassification";

/// A family that TensorRT-LLM has, and how it is described there.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) spec: &'static FamilySpec,
    pub(super) trtllm: &'static TrtllmSpec,
}

/// The description of a model's family.
///
/// # Errors
/// TensorRT-LLM does not have it.
pub(super) fn family(model: &Model) -> Result<Family, BuildError> {
    let refuse = |reason: String| Err(BuildError::Option(format!("{}: {reason}", model.name)));
    let Some(spec) = families::named(&model.family) else {
        return refuse(format!("its family {} is unknown to this version of build-engine", model.family));
    };
    match &spec.trtllm {
        Ok(trtllm) => Ok(Family { spec, trtllm }),
        Err(reason) => refuse(format!(
            "{} cannot be built for GPUs with TensorRT-LLM {TENSORRT_LLM}: {reason}; build it for --target cpu",
            spec.title
        )),
    }
}

/// Widths of a head that TensorRT-LLM's attention has kernels for: `MMHA_SUPPORTED_HEAD_SIZES` of its
/// `decoderMaskedMultiheadAttention.cu`. Loading an engine with another ends the process.
const HEAD_SIZES: [usize; 13] = [32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256];

/// Refuses heads that TensorRT-LLM has no attention for.
pub(super) fn check_head_size(model: &Model) -> Result<(), BuildError> {
    if HEAD_SIZES.contains(&model.head_dim) {
        return Ok(());
    }
    let sizes = HEAD_SIZES.map(|size| size.to_string()).join(", ");
    Err(BuildError::Option(format!(
        "{}: its attention heads are {} numbers wide (head_dim of config.json), and TensorRT-LLM has attention for {sizes} \
         only; build it for --target cpu",
        model.name, model.head_dim
    )))
}

/// Refuses what would be computed differently than the model was trained.
pub(super) fn check_model(
    family: Family,
    model: &Model,
    max_position_embeddings: usize,
    quantization: &Quantization,
) -> Result<(), BuildError> {
    let title = family.spec.title;
    let lacks = match &model.rope.scaling {
        RopeScaling::Yarn { .. } => Some("YaRN (its rotary table would have wrong frequencies)"),
        RopeScaling::LongRope { .. } if family.spec.name != "phi3" => Some("LongRoPE"),
        RopeScaling::LongRope { attention_factor, original_max_position_embeddings: original, .. }
            if !is_usual_factor(*attention_factor, *original, max_position_embeddings) =>
        {
            Some("LongRoPE with an attention_factor of its own")
        }
        _ => (family.trtllm.lacks)(model),
    };
    if let Some(lacks) = lacks {
        return Err(BuildError::Option(format!(
            "{}: TensorRT-LLM's {title} has no {lacks}; build it for --target cpu",
            model.name
        )));
    }
    let quantizes = !matches!(quantization, Quantization::None | Quantization::Checkpoint(_));
    if quantizes && model.variant.experts.is_some() {
        return Err(BuildError::Option(format!(
            "--quantization: experts of {title} are written in bf16 only; quantize with NVIDIA's modelopt and give its \
             output with --quantized DIR"
        )));
    }
    if *quantization == Quantization::Fp8 && !family.trtllm.fp8 {
        return Err(BuildError::Option(format!(
            "--quantization fp8: TensorRT-LLM quantizes {title}'s layers to fp8 only with calibrated scales; quantize \
             with NVIDIA's modelopt and give its output with --quantized DIR, or use int8-weight-only"
        )));
    }
    Ok(())
}

/// Whether LongRoPE has the factor that TensorRT-LLM computes, which reads none.
fn is_usual_factor(factor: f64, original: usize, max_position_embeddings: usize) -> bool {
    let stretched = (max_position_embeddings as f64 / original as f64).max(1.0);
    let usual = (1.0 + stretched.ln() / (original as f64).ln()).sqrt();
    (factor - usual).abs() < 1e-6
}

/// Refuses a small head if TensorRT-LLM has no such form: only its `Qwen2ForSequenceClassification` has a head of as
/// many rows as wanted. Its layers are Qwen's and, without biases, Llama's.
pub(super) fn check_small_head(family: Family, model: &Model, task: Task) -> Result<(), BuildError> {
    let refuse = |what: &str| Err(BuildError::Option(format!("--small-head: {what}; leave it out")));
    if task != Task::Reward {
        return refuse("a model that generates needs all rows of the vocabulary's head");
    }
    let Some(small_head) = &family.trtllm.small_head else {
        return refuse(&format!(
            "TensorRT-LLM has a head of fewer rows than the vocabulary only for Llama's and Qwen's layers, and {} is a \
             {}",
            model.name, family.spec.title
        ));
    };
    if !small_head.biases && (model.qkv_bias || model.output_bias || model.mlp_bias) {
        return refuse("TensorRT-LLM's model with such a head has none of this checkpoint's biases");
    }
    Ok(())
}

/// Refuses stages for which the vocabulary would have to be padded with tokens. Only a reward's may be: a model that
/// generates might choose such a token.
pub(super) fn check_vocabulary(model: &Model, mapping: Mapping) -> Result<(), BuildError> {
    let Mapping { tensor_parallel: tp, pipeline_parallel: pp } = mapping;
    if mapping.vocab_size(model.vocab_size) == model.vocab_size {
        return Ok(());
    }
    Err(BuildError::Option(format!(
        "--pp {pp}: TensorRT-LLM's runtime pads the vocabulary of {} tokens for all {} ranks and trtllm-build for the {tp} \
         of a stage, so the logits would have two widths; leave --pp out",
        model.vocab_size,
        mapping.ranks()
    )))
}

/// Refuses nodes among which the ranks cannot be divided.
pub(super) fn check_nodes(gpus_per_node: Option<usize>, mapping: Mapping) -> Result<(), BuildError> {
    let (Some(count), ranks) = (gpus_per_node, mapping.ranks()) else { return Ok(()) };
    if count > 0 && (count >= ranks || ranks.is_multiple_of(count)) {
        return Ok(());
    }
    let possible: Vec<String> =
        (1..=ranks).filter(|count| ranks.is_multiple_of(*count)).map(|count| count.to_string()).collect();
    Err(BuildError::Option(format!(
        "--gpus-per-node {count} does not divide the {ranks} ranks of --tp and --pp; possible are {}",
        possible.join(", ")
    )))
}

/// The widths of feed-forward networks, which ranks divide, and their fields.
fn divided_widths(model: &Model) -> Vec<(&'static str, usize)> {
    let Some(experts) = &model.variant.experts else {
        return vec![("intermediate_size", model.intermediate_size)];
    };
    let shared =
        experts.shared.as_ref().map(|shared| ("the width of the shared expert", shared.intermediate_size));
    [Some(("the width of an expert", experts.intermediate_size)), shared].into_iter().flatten().collect()
}

/// Refuses ranks that cannot divide the model.
pub(super) fn check_mapping(family: Family, model: &Model, mapping: Mapping) -> Result<(), BuildError> {
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
    if model.variant.qk_norm != QkNorm::None && heads == kv && heads > tp {
        return refuse(format!(
            "--tp {tp}: TensorRT-LLM mixes up queries and keys of {} before it norms them, as it does wherever a rank has \
             several query heads and as many key-value heads; choose --tp {heads}, or build it for --target cpu",
            model.name
        ));
    }
    if let Some((field, width)) =
        divided_widths(model).into_iter().find(|(_, width)| !width.is_multiple_of(tp))
    {
        return refuse(format!("--tp {tp} does not divide {field}, {width}"));
    }
    if pp > model.num_layers {
        return refuse(format!("--pp {pp} is more than the {} layers of {}", model.num_layers, model.name));
    }
    if pp > 1 && !family.trtllm.stages {
        return refuse(format!(
            "--pp: TensorRT-LLM's {} cannot be divided into stages; use --tp",
            family.spec.title
        ));
    }
    Ok(())
}
