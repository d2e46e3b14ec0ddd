//! Engine directories that script the stand-in.

use std::path::Path;
use std::sync::Arc;

use assay::builder::{Silent, trtllm};
use assay::engine::EngineOptions;
use assay::engine::trtllm::TrtllmFactory;
use assay::hardware::Gpus;
use assay::manifest::{GpuTarget, HEAD_FILE, Manifest, Target};
use assay::scheduler::{self, Handle, Job, Output, Priority, Rejection, Work};
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use crate::server;
use crate::support::wide::widen;

/// An engine directory whose stand-in follows `script`; see `stand-in/script.h`.
pub(crate) struct Engine {
    pub(crate) directory: TempDir,
    pub(crate) manifest: Manifest,
}

impl Engine {
    pub(crate) fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("stand-in.conf"), script).unwrap();
        let mut manifest = server::manifest();
        manifest.target = Target::TensorrtLlm(GpuTarget {
            device: "NVIDIA H100 80GB HBM3".into(),
            compute_capability: "9.0".into(),
            tensor_parallel: 1,
            pipeline_parallel: 1,
            tensorrt_llm: "1.2.1".into(),
            tensorrt: "10.14".into(),
            driver: "580".into(),
            ..GpuTarget::default()
        });
        Self { directory, manifest }
    }

    /// What `build-engine` makes of a test's checkpoint for `trtllm-build`, as if that had made plans of it.
    pub(crate) fn of_checkpoint(name: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name);
        // A model is called as its directory is.
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join(name);
        std::fs::create_dir(&checkpoint).unwrap();
        copy_wide(&original, &checkpoint);
        let mut options = trtllm::TrtllmBuildOptions::new(checkpoint, "h100", directory.path());
        options.gpu.checkpoint_only = true;
        trtllm::build(&options, &Gpus::default(), &Silent).unwrap();
        let draft = std::fs::read_to_string(directory.path().join(trtllm::DRAFT_FILE)).unwrap();
        std::fs::write(directory.path().join("stand-in.conf"), script).unwrap();
        Self { directory, manifest: serde_saphyr::from_str(&draft).unwrap() }
    }

    /// With a bias of the head.
    pub(crate) fn biased(script: &str, bias: &[f32]) -> Self {
        let mut engine = Self::new(script);
        engine.manifest.head.bias = true;
        let data: Vec<u8> = bias.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorView::new(safetensors::Dtype::F32, vec![bias.len()], &data).unwrap();
        let file = safetensors::serialize([("head.0_bias", tensor)], None).unwrap();
        std::fs::write(engine.directory.path().join(HEAD_FILE), file).unwrap();
        engine
    }

    pub(crate) fn factory(&self) -> TrtllmFactory {
        TrtllmFactory::open(self.directory.path(), &self.manifest, &EngineOptions::default()).unwrap()
    }

    pub(crate) fn schedule(&self, options: scheduler::SchedulerOptions) -> Handle {
        scheduler::start(self.factory().into(), options, Arc::new(())).unwrap()
    }
}

/// Copies a checkpoint, with heads as wide as TensorRT-LLM needs them.
pub(crate) fn copy_wide(original: &Path, copy: &Path) {
    for file in std::fs::read_dir(original).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    widen(copy);
}

/// The raw logits after a text.
pub(crate) async fn score(handle: &Handle, tokens: &[u32]) -> Result<Vec<f32>, Rejection> {
    read(handle, tokens, &[tokens.len() - 1]).await
}

/// The raw logits at some positions of a text.
pub(crate) async fn read(
    handle: &Handle,
    tokens: &[u32],
    positions: &[usize],
) -> Result<Vec<f32>, Rejection> {
    match handle.submit(reading(tokens, positions), None)?.await?.output {
        Output::Logits(logits) => Ok(logits.to_vec()),
        Output::Tokens(tokens) => panic!("asked for a score, got tokens {tokens:?}"),
    }
}

/// The job of reading a text at some positions.
pub(crate) fn reading(tokens: &[u32], positions: &[usize]) -> Job {
    let work = Work::Score { read: positions.into() };
    Job { tokens: tokens.into(), work, priority: Priority(0) }
}
