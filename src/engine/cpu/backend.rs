//! What the CPU backend decides about an engine.

use super::CpuFactory;
use crate::engine::{EngineError, EngineFactory, EngineOptions, backend};
use crate::hardware::{Cpu, Machine, Obstacle};
use crate::manifest::{Dtype, EngineFiles, Manifest};

/// Runs the engine of a manifest on this processor.
pub(in crate::engine) struct CpuBackend<'a> {
    pub(in crate::engine) manifest: &'a Manifest,
    /// The instruction set that the weights are laid out for.
    pub(in crate::engine) instruction_set: &'a str,
}

impl CpuBackend<'_> {
    /// Why the engine does not run on a processor.
    pub(super) fn processor_obstacle(&self, cpu: &Cpu) -> Option<Obstacle> {
        let Self { manifest, instruction_set } = self;
        let built_with = &manifest.built_with.onednn;
        if *instruction_set != cpu.instruction_set {
            let built_for = (*instruction_set).to_owned();
            Some(Obstacle::InstructionSet { built_for, here: cpu.instruction_set.clone() })
        } else if *built_with != cpu.onednn {
            Some(Obstacle::OneDnn { built_with: built_with.clone(), here: cpu.onednn.clone() })
        } else if manifest.dtype == Dtype::Bf16 && !cpu.bf16 {
            Some(Obstacle::Arithmetic("bfloat16"))
        } else if manifest.dtype == Dtype::Int8 && !cpu.int8 {
            Some(Obstacle::Arithmetic("int8"))
        } else {
            None
        }
    }
}

impl backend::Backend for CpuBackend<'_> {
    /// For example `onednn-avx2-f32`.
    fn profile_name(&self) -> String {
        format!("onednn-{}-{}", self.instruction_set, self.manifest.dtype)
    }

    fn obstacle(&self, machine: &Machine) -> Option<Obstacle> {
        let several = machine.ranks.filter(|ranks| ranks.world > 1);
        let several = several.map(|ranks| Obstacle::SeveralProcesses(ranks.world));
        self.processor_obstacle(&machine.cpu).or(several)
    }

    fn weight_bits(&self) -> u32 {
        self.manifest.dtype.bits()
    }

    fn open(&self, files: &EngineFiles, options: &EngineOptions) -> Result<EngineFactory, EngineError> {
        Ok(CpuFactory::new(files, self.manifest, options)?.into())
    }
}
