//! Engine directories that tell the stand-in what to do.

use std::sync::Arc;

use assay::engine::manifest::{Gpus, Manifest, Target};
use assay::engine::trtllm::{Options, TrtllmFactory};
use assay::scheduler::{self, Handle, Job, Output, Priority, Rejection, Work};
use tempfile::TempDir;

use crate::server;

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
        manifest.target = Target::TensorrtLlm(Gpus {
            device: "NVIDIA H100 80GB HBM3".into(),
            compute_capability: "9.0".into(),
            tensor_parallel: 1,
            pipeline_parallel: 1,
            tensorrt_llm: "1.2.1".into(),
            tensorrt: "10.14".into(),
            driver: "580".into(),
            head_bias: Vec::new(),
            ..Gpus::default()
        });
        Self { directory, manifest }
    }

    /// With a bias of the head.
    pub(crate) fn biased(script: &str, bias: Vec<f32>) -> Self {
        let mut engine = Self::new(script);
        engine.manifest.head.bias = true;
        if let Target::TensorrtLlm(gpus) = &mut engine.manifest.target {
            gpus.head_bias = bias;
        }
        engine
    }

    pub(crate) fn factory(&self) -> TrtllmFactory {
        TrtllmFactory::open(self.directory.path(), &self.manifest, &Options::default()).unwrap()
    }

    pub(crate) fn schedule(&self, options: scheduler::Options) -> Handle {
        scheduler::start(Box::new(self.factory()), options, Arc::new(())).unwrap()
    }
}

/// The raw logits of a text.
pub(crate) async fn score(handle: &Handle, tokens: &[u32]) -> Result<Vec<f32>, Rejection> {
    let job =
        Job { tokens: tokens.into(), work: Work::score(tokens.len()), priority: Priority(0), deadline: None };
    match handle.submit(job)?.await?.output {
        Output::Logits(logits) => Ok(logits.to_vec()),
        Output::Tokens(tokens) => panic!("asked for a score, got tokens {tokens:?}"),
    }
}
