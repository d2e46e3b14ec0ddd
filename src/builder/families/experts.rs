//! Mixtures of experts: which layers have them, how many, and where their tensors are.

use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Experts, SharedExpert};

/// How a family's experts are described.
pub(crate) struct ExpertsSpec {
    /// The field with their number, and its default.
    pub(crate) count: (&'static str, usize),
    /// Default of `num_experts_per_tok`.
    pub(crate) active: usize,
    /// The field with the width of one, and its default.
    pub(crate) width: (&'static str, usize),
    /// Default of `norm_topk_prob`; `None` if the weights of the chosen experts always sum to 1.
    pub(crate) normalized: Option<bool>,
    /// The field with the width of the expert that every token has, and its default.
    pub(crate) shared: Option<(&'static str, usize)>,
    /// Whether `decoder_sparse_step` and `mlp_only_layers` say which layers have experts; if not, all have.
    pub(crate) some_layers: bool,
    pub(crate) tensors: ExpertTensors,
}

/// Names of a layer's tensors, without `.weight`.
pub(crate) struct ExpertTensors {
    pub(crate) router: &'static str,
    /// What the names of an expert's tensors start with, followed by its number.
    pub(crate) experts: &'static str,
    pub(crate) gate_up: [&'static str; 2],
    pub(crate) down: &'static str,
}

impl ExpertTensors {
    /// The names that most families share.
    pub(crate) const COMMON: Self = Self {
        router: "mlp.gate",
        experts: "mlp.experts",
        gate_up: ["gate_proj", "up_proj"],
        down: "down_proj",
    };
    /// The expert that every token has, and its gate.
    pub(crate) const SHARED: &'static str = "mlp.shared_expert";
    pub(crate) const SHARED_GATE: &'static str = "mlp.shared_expert_gate";
}

/// Reads the experts of a checkpoint.
///
/// # Errors
/// A field is malformed, or a token would choose more experts than there are.
pub(super) fn read(
    config: &Object,
    spec: Option<&ExpertsSpec>,
    num_layers: usize,
) -> Result<Option<Experts>, BuildError> {
    let Some(spec) = spec else { return Ok(None) };
    let (field, default) = spec.count;
    // transformers writes the number under either name.
    let other = if field == "num_experts" { "num_local_experts" } else { "num_experts" };
    let count = match config.optional(field)? {
        Some(count) => count,
        None => config.optional::<usize>(other)?.unwrap_or(default),
    };
    if count == 0 {
        return Ok(None);
    }
    let active = config.size("num_experts_per_tok", Some(spec.active))?;
    if active > count {
        let reason = format!("{active} is more than the {count} experts of a layer");
        return Err(config.error("num_experts_per_tok", &reason));
    }
    let layers =
        if spec.some_layers { sparse_layers(config, num_layers)? } else { (0..num_layers).collect() };
    if layers.is_empty() {
        return Ok(None);
    }
    let (width, default_width) = spec.width;
    let shared = match spec.shared {
        Some((field, default)) => {
            Some(SharedExpert { intermediate_size: config.size(field, Some(default))? })
        }
        None => None,
    };
    Ok(Some(Experts {
        count,
        active,
        intermediate_size: config.size(width, Some(default_width))?,
        normalized: match spec.normalized {
            Some(default) => config.optional("norm_topk_prob")?.unwrap_or(default),
            None => true,
        },
        layers,
        shared,
    }))
}

/// Each `decoder_sparse_step`th layer, `mlp_only_layers` excepted.
fn sparse_layers(config: &Object, num_layers: usize) -> Result<Vec<usize>, BuildError> {
    let step = config.size("decoder_sparse_step", Some(1))?;
    let dense: Vec<usize> = config.optional("mlp_only_layers")?.unwrap_or_default();
    let is_sparse = |layer: &usize| (layer + 1).is_multiple_of(step) && !dense.contains(layer);
    Ok((0..num_layers).filter(is_sparse).collect())
}
