//! [`Backend`]: a kind of engine, such as oneDNN's or TensorRT-LLM's, as it applies to one engine directory.

use std::path::Path;

use super::{EngineError, EngineFactory, EngineOptions};
use crate::hardware::{Machine, Obstacle, Ranks};
use crate::manifest::{EngineFiles, Objective};

/// Whether and how the engine of one manifest runs on a machine.
pub trait Backend {
    /// The name of the engine's profile: what computes, where and in which precision.
    fn profile_name(&self) -> String;

    /// Why the engine does not run on a machine; `None` if it runs.
    fn obstacle(&self, machine: &Machine) -> Option<Obstacle>;

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

    /// Prepares to load the engine from its verified files.
    ///
    /// # Errors
    /// The engine does not run on this machine, or an option does not suit it.
    fn open(&self, files: &EngineFiles, options: &EngineOptions) -> Result<EngineFactory, EngineError>;

    /// What this process does if it is a worker rank of the engine; `None` if it leads.
    fn worker(&self, _ranks: Option<Ranks>, _directory: &Path, _options: &EngineOptions) -> Option<Worker> {
        None
    }

    /// Whether the process can end at any time, even while it loads the engine.
    fn is_interruptible(&self) -> bool {
        true
    }
}

/// Loads a rank's shard of an engine and works until the leader ends the engine.
pub type Worker = Box<dyn FnOnce() -> Result<(), EngineError> + Send>;
