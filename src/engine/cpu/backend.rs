//! What the CPU backend decides about an engine.

use std::path::Path;

use super::CpuFactory;
use crate::engine::{EngineError, EngineFactory, EngineOptions, backend};
use crate::hardware::{Cpu, Machine};
use crate::manifest::{Dtype, Manifest};

pub(super) const REBUILD: &str = "run `build-engine --target cpu` on this machine to build it again";

/// Runs the engine of a manifest on this processor.
pub(in crate::engine) struct Backend<'a> {
    pub(in crate::engine) manifest: &'a Manifest,
    /// The instruction set that the weights are laid out for.
    pub(in crate::engine) instruction_set: &'a str,
}

impl Backend<'_> {
    /// Why the engine does not run on a processor.
    pub(super) fn processor_obstacle(&self, cpu: &Cpu) -> Option<String> {
        let Self { manifest, instruction_set } = self;
        let built_with = &manifest.built_with.onednn;
        let Cpu { instruction_set: here, onednn: version, .. } = cpu;
        let reason = if instruction_set != here {
            format!("was built for processors with {instruction_set}, this one has {here}")
        } else if built_with != version {
            format!("was built with oneDNN {built_with}, this server runs {version}")
        } else if manifest.dtype == Dtype::Bf16 && !cpu.bf16 {
            "computes in bfloat16, which this processor does not".to_owned()
        } else if manifest.dtype == Dtype::Int8 && !cpu.int8 {
            "computes in int8, which this processor does not".to_owned()
        } else {
            return None;
        };
        Some(format!("{reason}; {REBUILD}"))
    }
}

impl backend::Backend for Backend<'_> {
    /// For example `onednn-avx2-f32`.
    fn profile_name(&self) -> String {
        format!("onednn-{}-{}", self.instruction_set, self.manifest.dtype)
    }

    fn obstacle(&self, machine: &Machine) -> Option<String> {
        let several = machine.ranks.filter(|ranks| ranks.world > 1).map(|ranks| {
            format!("is for one process, and mpirun started {}; start it without mpirun", ranks.world)
        });
        self.processor_obstacle(&machine.cpu).or(several)
    }

    fn weight_bits(&self) -> u32 {
        self.manifest.dtype.bits()
    }

    fn open(&self, directory: &Path, options: &EngineOptions) -> Result<EngineFactory, EngineError> {
        Ok(CpuFactory::open(directory, self.manifest, options)?.into())
    }
}
