//! [`Obstacle`]: why an engine does not run on a machine.

use std::sync::Arc;

use crate::manifest::{MANIFEST_FILE, ManifestError, TENSORRT_LLM};

/// Why an engine does not run on a machine and what to do, as the rest of a sentence that starts with the engine's name.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Obstacle {
    /// The manifest cannot be read.
    #[error("cannot be used: {0}")]
    Manifest(Arc<ManifestError>),
    /// The manifest was edited.
    #[error(
        "was changed after the build: the profile id does not match the text of {MANIFEST_FILE}; copy it again or \
         build it again"
    )]
    Changed,
    /// The weights are laid out for another instruction set.
    #[error("was built for processors with {built_for}, this one has {here}; {REBUILD}")]
    InstructionSet {
        /// The instruction set that it was built for.
        built_for: String,
        /// This processor's.
        here: String,
    },
    /// The weights were laid out by another oneDNN.
    #[error("was built with oneDNN {built_with}, this server runs {here}; {REBUILD}")]
    OneDnn {
        /// The version that it was built with.
        built_with: String,
        /// This server's.
        here: String,
    },
    /// The processor lacks the engine's arithmetic.
    #[error("computes in {0}, which this processor does not; {REBUILD}")]
    Arithmetic(&'static str),
    /// The engine is one process, and several were started.
    #[error("is for one process, and mpirun started {0}; start it without mpirun")]
    SeveralProcesses(usize),
    /// The engine is for GPUs, but a CPU would run it.
    #[error("was built for NVIDIA GPUs; {REBUILD}")]
    ForGpus,
    /// The engine is for a CPU, but GPUs would run it.
    #[error("was built for a CPU")]
    ForCpu,
    /// This binary drives no GPUs.
    #[error(
        "requires NVIDIA GPUs; this binary was built without GPU support: use the GPU image, or build with \
         `--features trtllm`"
    )]
    NoGpuSupport,
    /// The engine was built with another TensorRT-LLM.
    #[error(
        "was built with TensorRT-LLM {0}, and this server drives {TENSORRT_LLM}; build it again with the `build-engine` \
         of this server's image"
    )]
    TensorRtLlm(String),
    /// `mpirun` started another number of ranks than the engine has.
    #[error("has {ranks} ranks, and mpirun started {started}; start it with `mpirun -n {ranks}`")]
    Ranks {
        /// The engine's ranks.
        ranks: usize,
        /// Ranks that were started.
        started: usize,
    },
    /// There is no GPU.
    #[error("needs {needed} x {device}, and {here}")]
    NoGpu {
        /// GPUs that it needs.
        needed: usize,
        /// Their name.
        device: String,
        /// What was found out about this machine's GPUs.
        here: String,
    },
    /// The GPUs are others.
    #[error(
        "was built for {device} (compute capability {compute_capability}), and this machine has {here}; {}",
        rebuild_for(target.as_deref())
    )]
    OtherGpus {
        /// Name of the GPUs that it was built for.
        device: String,
        /// Their compute capability.
        compute_capability: String,
        /// This machine's GPUs.
        here: String,
        /// The target that an engine for this machine would be built for, if engines can be.
        target: Option<String>,
    },
    /// There are too few GPUs.
    #[error(
        "needs {needed} x {device}, and this machine has {here}; build it for fewer with `build-engine --tp {fewer}`, or \
         spread its ranks over machines with mpirun"
    )]
    FewGpus {
        /// GPUs that it needs here.
        needed: usize,
        /// Their name.
        device: String,
        /// This machine's GPUs.
        here: String,
        /// The most GPUs that are here and that its layers can be spread over.
        fewer: usize,
    },
    /// The engine was built for machines with another number of GPUs.
    #[error(
        "was built for nodes of {per_node} GPUs, and this one has {found} and {local} of the {ranks} ranks; build it \
         again with `build-engine --gpus-per-node {local}`, and start {local} ranks on every node"
    )]
    GpusPerNode {
        /// GPUs of a machine, as built.
        per_node: usize,
        /// GPUs here.
        found: usize,
        /// Ranks here.
        local: usize,
        /// All ranks.
        ranks: usize,
    },
}

const REBUILD: &str = "run `build-engine --target cpu` on this machine to build it again";

fn rebuild_for(target: Option<&str>) -> String {
    match target {
        Some(target) => format!("build it for that with `build-engine --target {target}`"),
        None => "engines cannot be built for that".to_owned(),
    }
}
