//! The manifest of an engine that is to be built: all of it that `trtllm-build` does not decide.

use super::Order;
use crate::build::plan::Planned;
use crate::build::source::Source;
use crate::build::{BuildError, convert};
use crate::engine::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, Gpus, Manifest, Profile, Quantization, Target, profile_name,
};

/// The manifest without versions, profile id and files.
///
/// # Errors
/// A number of the head's is not finite, or the tokenizer lacks a token that it needs.
pub(super) fn draft(
    order: &Order<'_>,
    source: &Source,
    planned: &[Planned<'_>],
    limits: BuildLimits,
    quantization: Quantization,
) -> Result<Manifest, BuildError> {
    let mapping = order.mapping();
    let target = Target::TensorrtLlm(Gpus {
        device: order.device.clone(),
        compute_capability: order.target.compute_capability.clone().unwrap_or_default(),
        tensor_parallel: mapping.tensor_parallel,
        pipeline_parallel: mapping.pipeline_parallel,
        quantization,
        objective: order.options.objective.unwrap_or_default(),
        driver: order.machine.driver.clone().unwrap_or_default(),
        head_bias: head_bias(planned)?,
        ..Gpus::default()
    });
    Ok(Manifest {
        format: FORMAT,
        profile: Profile { id: String::new(), name: profile_name(&target, Dtype::Bf16) },
        model: source.config.model.clone(),
        task: source.task,
        target,
        built_with: BuiltWith { assay: env!("CARGO_PKG_VERSION").to_owned(), onednn: String::new() },
        dtype: Dtype::Bf16,
        limits,
        head: source.head()?,
        prompt: source.prompt(),
        files: [].into(),
    })
}

/// The head's bias, row by row.
fn head_bias(planned: &[Planned<'_>]) -> Result<Vec<f32>, BuildError> {
    let Some(bias) = planned.iter().find(|planned| planned.name == "head_bias") else { return Ok(vec![]) };
    let minus = match &bias.minus {
        Some(minus) => convert::values(minus)?.first().copied().unwrap_or(0.0),
        None => 0.0,
    };
    let mut values = Vec::new();
    for source in &bias.sources {
        values.extend(convert::values(source)?.iter().map(|value| value - minus));
    }
    Ok(values)
}
