//! The manifest of an engine that is to be built: all of it that `trtllm-build` does not decide.

use super::Order;
use super::head::{self, LmHead};
use crate::builder::BuildError;
use crate::builder::plan::Planned;
use crate::builder::source::Source;
use crate::hardware::profile_name;
use crate::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, Gpus, Head, Manifest, Profile, Quantization, Target,
};

/// The manifest without versions, profile id and files.
///
/// # Errors
/// A number of the head's is not finite.
pub(super) fn draft(
    order: &Order<'_>,
    source: &Source,
    planned: &[Planned<'_>],
    (head, lm_head): (Head, &LmHead),
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
        head_bias: head::bias(planned, &head)?,
        lm_head_rows: lm_head.small.then_some(lm_head.rows),
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
        head,
        prompt: source.prompt(),
        files: [].into(),
    })
}
