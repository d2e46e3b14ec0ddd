//! The manifest of an engine that is to be built: all of it that `trtllm-build` does not decide.

use super::Order;
use super::head::LmHead;
use crate::builder::source::Source;
use crate::hardware::profile_name;
use crate::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, Gpus, Head, Manifest, NUMERICS, Profile, Quantization, Target,
};

/// The manifest without versions, profile id and files.
pub(super) fn draft(
    order: &Order<'_>,
    source: &Source,
    (head, lm_head): (Head, &LmHead),
    limits: BuildLimits,
    quantization: Quantization,
) -> Manifest {
    let mapping = order.mapping();
    let target = Target::TensorrtLlm(Gpus {
        device: order.device.clone(),
        compute_capability: order.target.compute_capability.clone().unwrap_or_default(),
        tensor_parallel: mapping.tensor_parallel,
        pipeline_parallel: mapping.pipeline_parallel,
        quantization,
        objective: order.options.objective.unwrap_or_default(),
        driver: order.machine.driver.clone().unwrap_or_default(),
        lm_head_rows: lm_head.small.then_some(lm_head.rows),
        ..Gpus::default()
    });
    Manifest {
        format: FORMAT,
        numerics: NUMERICS,
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
    }
}
