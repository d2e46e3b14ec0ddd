//! Names of profiles.

use crate::manifest::{Dtype, Gpus, Target};

/// A profile's name: what computes, where, in which precision; of several GPUs also how many, and what
/// the engine was tuned for. For example `tensorrt_llm-h100-fp8-tp8-latency`, `onednn-avx2-f32`.
pub fn profile_name(target: &Target, dtype: Dtype) -> String {
    match target {
        Target::Cpu { instruction_set } => format!("onednn-{instruction_set}-{dtype}"),
        Target::TensorrtLlm(gpus) => {
            let known = super::targets::Target::of_device(&gpus.device).ok().flatten();
            let device = match &known {
                Some(target) => target.short_name().to_owned(),
                None => gpus.device.trim_start_matches("NVIDIA ").to_lowercase().replace(' ', "_"),
            };
            let stages = match gpus.pipeline_parallel {
                1 => String::new(),
                stages => format!("-pp{stages}"),
            };
            let Gpus { quantization, tensor_parallel, objective, .. } = gpus;
            format!("tensorrt_llm-{device}-{quantization}-tp{tensor_parallel}{stages}-{objective}")
        }
    }
}
