//! The list of backends, and what each decides about the engines that it runs.
//!
//! A backend is a folder beside this file, a kind of [`Target`] in manifests, and a row
//! of the list. An engine without a target, the simulated one, is not a backend: an option asks for it.

use std::cmp::Reverse;

use super::backend::Backend;
use super::{cpu, trtllm};
use crate::hardware::Machine;
use crate::hardware::profiles::{Fit, Preference};
use crate::manifest::{Manifest, Target};

/// The backends in the order in which their engines are preferred.
#[derive(Clone, Copy)]
enum Place {
    TensorrtLlm,
    Cpu,
}

/// The list: a row for each kind of target.
fn row(manifest: &Manifest) -> (Place, Box<dyn Backend + '_>) {
    match &manifest.target {
        Target::TensorrtLlm(gpus) => (Place::TensorrtLlm, Box::new(trtllm::TrtllmBackend { manifest, gpus })),
        Target::Cpu { instruction_set } => {
            (Place::Cpu, Box::new(cpu::CpuBackend { manifest, instruction_set }))
        }
    }
}

/// The backend that runs an engine.
pub fn for_manifest(manifest: &Manifest) -> Box<dyn Backend + '_> {
    row(manifest).1
}

/// The name of an engine's profile.
pub fn profile_name(manifest: &Manifest) -> String {
    for_manifest(manifest).profile_name()
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
