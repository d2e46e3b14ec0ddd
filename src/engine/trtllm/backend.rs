//! What the TensorRT-LLM backend decides about an engine.

#[cfg(feature = "trtllm")]
use std::path::Path;

use crate::engine::{EngineError, EngineFactory, EngineOptions, backend};
#[cfg(feature = "trtllm")]
use crate::hardware::Ranks;
use crate::hardware::targets::HardwareTarget;
use crate::hardware::{Gpu, Machine, Obstacle};
use crate::manifest::{EngineFiles, GpuTarget, Manifest, Objective, Quantization, TENSORRT_LLM};

/// Runs the engine of a manifest on GPUs.
pub(in crate::engine) struct TrtllmBackend<'a> {
    pub(in crate::engine) manifest: &'a Manifest,
    pub(in crate::engine) gpus: &'a GpuTarget,
}

impl TrtllmBackend<'_> {
    /// Unless `mpirun` started the ranks, the library does.
    #[cfg(feature = "trtllm")]
    fn factory(
        &self,
        files: &EngineFiles,
        options: &EngineOptions,
    ) -> Result<super::TrtllmFactory, EngineError> {
        let factory = super::TrtllmFactory::new(files, self.manifest, options)?.verified(self.manifest);
        Ok(if Ranks::detect().is_none() { factory.spawning_ranks() } else { factory })
    }

    /// Why a machine's GPUs cannot run `needed` ranks of the engine; `None` if they can.
    fn gpu_obstacle(&self, machine: &Machine, needed: usize) -> Option<Obstacle> {
        let GpuTarget { device, compute_capability, .. } = self.gpus;
        let built_for = HardwareTarget::from_device(device).ok().flatten();
        let is_same = |gpu: &Gpu| match &built_for {
            Some(target) => gpu.is(target),
            None => gpu.name == *device && !gpu.divided,
        };
        let fits = |gpu: &&Gpu| is_same(gpu) && gpu.compute_capability == *compute_capability;
        let found = machine.gpus.gpus.iter().filter(fits).count();
        if found >= needed {
            return None;
        }
        let here = machine.gpus.describe();
        let Some(first) = machine.gpus.gpus.first() else {
            return Some(Obstacle::NoGpu { needed, device: device.clone(), here });
        };
        if found == 0 {
            return Some(Obstacle::OtherGpus {
                device: device.clone(),
                compute_capability: compute_capability.clone(),
                here,
                target: first.target().ok().flatten().map(|target| target.name),
            });
        }
        let fewer = (1..=found).rev().find(|&ranks| needed.is_multiple_of(ranks)).unwrap_or(1);
        Some(Obstacle::FewGpus { needed, device: device.clone(), here, fewer })
    }
}

impl TrtllmBackend<'_> {
    /// Why the library would refuse this node, or have two of its `local` ranks use one GPU: it numbers a rank's GPU by
    /// the rank modulo the GPUs of a node (`WorldConfig::mpi`).
    fn node_obstacle(&self, machine: &Machine, local: usize) -> Option<Obstacle> {
        let (ranks, per_node) = (self.gpus.ranks(), self.gpus.gpus_per_node());
        let found = machine.gpus.gpus.len();
        // A rank that sees a single GPU uses that.
        if ranks == 1 || (found == 1 && local == 1) {
            return None;
        }
        if found >= ranks.min(per_node) && local <= per_node {
            return None;
        }
        Some(Obstacle::GpusPerNode { per_node, found, local, ranks })
    }
}

impl backend::Backend for TrtllmBackend<'_> {
    /// For several GPUs, the name also has their number and the objective, for example
    /// `tensorrt_llm-h100-fp8-tp8-latency`.
    fn profile_name(&self) -> String {
        let GpuTarget { device, quantization, tensor_parallel, pipeline_parallel, objective, .. } = self.gpus;
        let device = match HardwareTarget::from_device(device).ok().flatten() {
            Some(target) => target.short_name().to_owned(),
            None => device.trim_start_matches("NVIDIA ").to_lowercase().replace(' ', "_"),
        };
        let stages = if *pipeline_parallel == 1 { String::new() } else { format!("-pp{pipeline_parallel}") };
        format!("tensorrt_llm-{device}-{quantization}-tp{tensor_parallel}{stages}-{objective}")
    }

    fn obstacle(&self, machine: &Machine) -> Option<Obstacle> {
        if !machine.trtllm {
            return Some(Obstacle::NoGpuSupport);
        }
        let built_with = &self.gpus.tensorrt_llm;
        if built_with != TENSORRT_LLM {
            return Some(Obstacle::TensorRtLlm(built_with.clone()));
        }
        let ranks = self.gpus.ranks();
        let here = match machine.ranks {
            Some(started) if started.world != ranks => {
                return Some(Obstacle::Ranks { ranks, started: started.world });
            }
            Some(started) => started.local,
            None => ranks,
        };
        if !machine.needs_gpus {
            return None;
        }
        self.gpu_obstacle(machine, here).or_else(|| self.node_obstacle(machine, here))
    }

    fn weight_bits(&self) -> u32 {
        match &self.gpus.quantization {
            Quantization::Int4WeightOnly => 4,
            Quantization::Fp8 | Quantization::Int8WeightOnly => 8,
            // Algorithms are named after the bits of their weights: NVFP4, W4A16_AWQ, W8A8_SQ_PER_CHANNEL, FP8.
            Quantization::Checkpoint(name) => match name.find(['4', '8']) {
                Some(at) if name[at..].starts_with('4') => 4,
                Some(_) => 8,
                None => 16,
            },
            Quantization::None => self.manifest.dtype.bits(),
        }
    }

    fn objective(&self) -> Objective {
        self.gpus.objective
    }

    fn tensor_parallel(&self) -> usize {
        self.gpus.tensor_parallel
    }

    #[cfg(feature = "trtllm")]
    fn open(&self, files: &EngineFiles, options: &EngineOptions) -> Result<EngineFactory, EngineError> {
        Ok(self.factory(files, options)?.into())
    }

    #[cfg(not(feature = "trtllm"))]
    fn open(&self, files: &EngineFiles, _: &EngineOptions) -> Result<EngineFactory, EngineError> {
        let directory = files.directory().to_owned();
        Err(EngineError::Unsuitable { directory, obstacle: Obstacle::NoGpuSupport })
    }

    /// The first rank leads.
    #[cfg(feature = "trtllm")]
    fn worker(
        &self,
        ranks: Option<Ranks>,
        directory: &Path,
        options: &EngineOptions,
    ) -> Option<backend::Worker> {
        let rank = ranks.map_or(0, |ranks| ranks.rank);
        if rank == 0 || self.gpus.ranks() == 1 {
            return None;
        }
        let (directory, options) = (directory.to_owned(), *options);
        let manifest = self.manifest.clone();
        Some(Box::new(move || super::TrtllmFactory::open(&directory, &manifest, &options)?.run_worker()))
    }

    /// The library cannot be interrupted while it loads, nor can ranks that wait for this one.
    fn is_interruptible(&self) -> bool {
        false
    }
}
