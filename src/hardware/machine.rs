//! What this machine has that an engine may need, and why an engine does not run here.

use std::time::Duration;

use super::gpus::{Gpu, Gpus as FoundGpus};
use super::targets;
use crate::engine::cpu::Processor;
use crate::manifest::{Gpus, Manifest, TENSORRT_LLM, Target};

/// This machine, and what this server was built with.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its processor and oneDNN.
    pub processor: Processor,
    /// Its GPUs.
    pub gpus: FoundGpus,
    /// Whether this server can drive TensorRT-LLM.
    pub trtllm: bool,
    /// Whether its TensorRT-LLM computes on GPUs; the tests' stand-in for it needs none.
    pub needs_gpus: bool,
    /// The ranks that `mpirun` started, if it did.
    pub ranks: Option<Ranks>,
}

/// Processes that were started together, of which this is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Which of them this is, from 0.
    pub rank: usize,
    /// How many there are on all machines.
    pub world: usize,
    /// How many of them there are on this machine.
    pub local: usize,
    /// How long after SIGTERM `mpirun` kills its ranks, be the signal its own or passed on; only with Open MPI's.
    pub kill_after: Option<Duration>,
}

impl Ranks {
    /// As what started them tells it: Open MPI's `mpirun`, or Slurm's `srun` through PMIx or PMI.
    pub fn find() -> Option<Self> {
        Self::told(|name| std::env::var(name).ok()?.parse().ok())
    }

    fn told(number: impl Fn(&str) -> Option<usize>) -> Option<Self> {
        let first = |names: [&str; 3]| names.into_iter().find_map(&number);
        let rank = first(["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"])?;
        let world = first(["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"])?;
        let local = first(["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"]);
        let seconds = first([
            "OMPI_MCA_odls_base_sigkill_timeout",
            "PRTE_MCA_odls_base_sigkill_timeout",
            "PRTE_MCA_prte_sigkill_timeout",
        ]);
        let kill_after = Duration::from_secs(seconds.unwrap_or(1) as u64);
        let by_mpirun = number("OMPI_COMM_WORLD_RANK").is_some();
        Some(Self { rank, world, local: local.unwrap_or(world), kill_after: by_mpirun.then_some(kill_after) })
    }
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            processor: Processor::detect(),
            gpus: FoundGpus::find(),
            trtllm: cfg!(feature = "trtllm"),
            needs_gpus: !cfg!(feature = "trtllm-stand-in"),
            ranks: Ranks::find(),
        }
    }

    /// Why an engine does not run here and what to do, as the rest of a sentence that begins with its
    /// name; `None` if it runs.
    pub fn obstacle(&self, manifest: &Manifest) -> Option<String> {
        match &manifest.target {
            Target::Cpu { .. } => self.processor.obstacle(manifest).or_else(|| self.one_process()),
            Target::TensorrtLlm(gpus) => self.gpu_obstacle(gpus),
        }
    }

    fn one_process(&self) -> Option<String> {
        let world = self.ranks?.world;
        let reason = format!("is for one process, and mpirun started {world}; start it without mpirun");
        (world > 1).then_some(reason)
    }

    fn gpu_obstacle(&self, gpus: &Gpus) -> Option<String> {
        if !self.trtllm {
            return Some(
                "is for NVIDIA GPUs, and this server was built without them; use the GPU image, or build it \
                 with `--features trtllm`"
                    .to_owned(),
            );
        }
        if gpus.tensorrt_llm != TENSORRT_LLM {
            return Some(format!(
                "was built with TensorRT-LLM {}, and this server drives {TENSORRT_LLM}; build it again with \
                 the `build-engine` of this server's image",
                gpus.tensorrt_llm
            ));
        }
        let ranks = gpus.ranks();
        let here = match self.ranks {
            Some(started) if started.world != ranks => {
                return Some(format!(
                    "has {ranks} ranks, and mpirun started {}; start it with `mpirun -n {ranks}`",
                    started.world
                ));
            }
            Some(started) => started.local,
            None => ranks,
        };
        if self.needs_gpus { self.too_few(gpus, here) } else { None }
    }

    /// What is wrong with the GPUs here for `needed` ranks of an engine.
    fn too_few(&self, gpus: &Gpus, needed: usize) -> Option<String> {
        let Gpus { device, compute_capability, .. } = gpus;
        let built_for = targets::Target::of_device(device).ok().flatten();
        let same = |gpu: &Gpu| match &built_for {
            Some(target) => gpu.is(target),
            None => gpu.name == *device && !gpu.divided,
        };
        let fits = |gpu: &&Gpu| same(gpu) && gpu.compute_capability == *compute_capability;
        let found = self.gpus.gpus.iter().filter(fits).count();
        if found >= needed {
            return None;
        }
        let here = self.gpus.describe();
        Some(match self.gpus.gpus.first() {
            None => format!("needs {needed} x {device}, and {here}"),
            Some(gpu) if found == 0 => {
                let advice = match gpu.target().ok().flatten() {
                    Some(target) => format!("build it for that with `build-engine --target {}`", target.name),
                    None => "engines cannot be built for that".to_owned(),
                };
                format!(
                    "was built for {device} (compute capability {compute_capability}), and this machine has \
                     {here}; {advice}"
                )
            }
            Some(_) => {
                let fewer = (1..=found).rev().find(|&ranks| needed.is_multiple_of(ranks)).unwrap_or(1);
                format!(
                    "needs {needed} x {device}, and this machine has {here}; build it for fewer with \
                     `build-engine --tp {fewer}`, or spread its ranks over machines with mpirun"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, usize)]) -> Option<Ranks> {
        Ranks::told(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value))
    }

    #[test]
    fn ranks_are_told_by_open_mpi_or_slurm_and_one_process_is_alone() {
        let mpirun = [("OMPI_COMM_WORLD_RANK", 3), ("OMPI_COMM_WORLD_SIZE", 8), ("PMIX_RANK", 3)];
        let second = Some(Duration::from_secs(1));
        assert_eq!(told(&mpirun), Some(Ranks { rank: 3, world: 8, local: 8, kill_after: second }));
        let more = [("OMPI_COMM_WORLD_LOCAL_SIZE", 4), ("OMPI_MCA_odls_base_sigkill_timeout", 20)];
        let longer = Some(Duration::from_secs(20));
        let ranks = told(&[&mpirun[..], &more].concat());
        assert_eq!(ranks, Some(Ranks { rank: 3, world: 8, local: 4, kill_after: longer }));
        let srun = [("PMIX_RANK", 1), ("SLURM_NTASKS", 8), ("SLURM_NTASKS_PER_NODE", 2)];
        assert_eq!(told(&srun), Some(Ranks { rank: 1, world: 8, local: 2, kill_after: None }));
        // A job of Slurm's, in which nothing has started ranks.
        assert_eq!(told(&srun[1..]), None);
    }
}
