//! The list of backends, and what each decides about the engines that it runs.
//!
//! A backend is a folder beside this file, a kind of [`Target`] in manifests, and a row
//! of [`of`]. An engine without a target, the simulated one, is not a backend: an option asks for it.

use std::cmp::Reverse;
use std::path::Path;

use super::{EngineError, EngineFactory, EngineOptions, cpu, trtllm};
use crate::hardware::profiles::{Fit, Preference};
use crate::hardware::{Machine, Ranks};
use crate::manifest::{Manifest, Objective, Target};

/// What runs the engine of one manifest.
pub trait Backend {
    /// The name of the engine's profile: what computes, where and in which precision.
    fn profile_name(&self) -> String;

    /// Why the engine does not run on a machine and what to do, as the rest of a sentence that starts with its name;
    /// `None` if it runs.
    fn obstacle(&self, machine: &Machine) -> Option<String>;

    /// Bits of one weight of its layers.
    fn weight_bits(&self) -> u32;

    /// What the engine is tuned for.
    fn objective(&self) -> Objective {
        Objective::Throughput
    }

    /// Over how many GPUs each layer is spread.
    fn tensor_parallel(&self) -> usize {
        1
    }

    /// Prepares to load the engine in `directory`.
    ///
    /// # Errors
    /// The engine does not run on this machine, or an option does not suit it.
    fn open(&self, directory: &Path, options: &EngineOptions) -> Result<EngineFactory, EngineError>;

    /// What this process does for the engine if it is not to lead it but to be one of its ranks; `None` if it leads.
    fn worker(&self, _ranks: Option<Ranks>, _directory: &Path, _options: &EngineOptions) -> Option<Worker> {
        None
    }

    /// Whether a process can end in order while it loads the engine.
    fn is_interruptible(&self) -> bool {
        true
    }
}

/// Loads a rank's shard of an engine and works until the leader ends the engine.
pub type Worker = Box<dyn FnOnce() -> Result<(), EngineError> + Send>;

/// The backends in the order in which their engines are preferred.
#[derive(Clone, Copy)]
enum Place {
    TensorrtLlm,
    Cpu,
}

/// The list: a row for each kind of target.
fn row(manifest: &Manifest) -> (Place, Box<dyn Backend + '_>) {
    match &manifest.target {
        Target::TensorrtLlm(gpus) => (Place::TensorrtLlm, Box::new(trtllm::Backend { manifest, gpus })),
        Target::Cpu { instruction_set } => (Place::Cpu, Box::new(cpu::Backend { manifest, instruction_set })),
    }
}

/// The backend that runs an engine.
pub fn of(manifest: &Manifest) -> Box<dyn Backend + '_> {
    row(manifest).1
}

/// The name of an engine's profile.
pub fn profile_name(manifest: &Manifest) -> String {
    of(manifest).profile_name()
}

/// How engines fit a machine, as [`crate::hardware::profiles`] asks.
pub fn fit(machine: &Machine) -> impl Fn(&Manifest) -> Fit + '_ {
    |manifest| {
        let (place, backend) = row(manifest);
        Fit {
            obstacle: backend.obstacle(machine),
            preference: Preference {
                backend: place as usize,
                weight_bits: backend.weight_bits(),
                objective: Reverse(backend.objective()),
                tensor_parallel: Reverse(backend.tensor_parallel()),
            },
        }
    }
}
