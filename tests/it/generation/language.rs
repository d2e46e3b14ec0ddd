//! Engines of the tiny checkpoints as language models, and servers on them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay::api::{App, router};
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildError, Silent};
use assay::config::Settings;
use assay::engine::cpu::CpuFactory;
use assay::engine::{EngineFactory, EngineOptions};
use assay::manifest::{Dtype, Manifest};
use assay::prompt::Encoder;
use assay::scheduler::{self, Handle};
use assay::serving::Generator;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::http::{TestResponse, json_request, send};

/// `tests/golden/generation/NAME.json`, which `tools/make_generation_goldens.py` writes.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) chats: Vec<Case>,
    pub(crate) texts: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    #[serde(default)]
    pub(crate) messages: Value,
    #[serde(default)]
    pub(crate) text: String,
    pub(crate) prompt: Vec<u32>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprobs: Vec<f32>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        let path = tests().join("golden/generation").join(format!("{name}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

/// A built engine.
pub(crate) struct Built {
    pub(crate) directory: TempDir,
    pub(crate) manifest: Manifest,
}

impl Built {
    /// The checkpoint as a language model: a classifier loses its head, and keeps its embedding.
    pub(crate) fn new(name: &str, dtype: Dtype) -> Self {
        Self::with(name, |options| options.dtype = Some(dtype))
    }

    /// The same, with the checkpoint or the options changed.
    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CpuBuildOptions)) -> Self {
        Self::try_with(name, change).unwrap()
    }

    pub(crate) fn try_with(
        name: &str,
        change: impl FnOnce(&mut CpuBuildOptions),
    ) -> Result<Self, BuildError> {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = directory.path().join("checkpoint");
        std::fs::create_dir(&checkpoint).unwrap();
        for entry in std::fs::read_dir(tests().join("checkpoints").join(name)).unwrap() {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            let bytes = match entry.file_name().to_str().unwrap() {
                "config.json" => causal(&bytes),
                "model.safetensors" => headless(&bytes),
                _ => bytes,
            };
            std::fs::write(checkpoint.join(entry.file_name()), bytes).unwrap();
        }
        let mut options = CpuBuildOptions::new(checkpoint, directory.path().join("engine"));
        options.common.name = Some("tiny".into());
        change(&mut options);
        let manifest = build(&options, &Silent)?;
        Ok(Self { directory, manifest })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("engine")
    }

    pub(crate) fn factory(&self) -> CpuFactory {
        CpuFactory::open(&self.path(), &self.manifest, &EngineOptions::default()).unwrap()
    }

    /// A scheduler on it.
    pub(crate) fn start(&self) -> Handle {
        scheduler::start(self.factory().into(), scheduler::SchedulerOptions::default(), Arc::new(())).unwrap()
    }

    pub(crate) fn encoder(&self) -> Encoder {
        Encoder::open(&self.path(), &self.manifest.prompt).unwrap()
    }
}

fn causal(config: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(config).unwrap();
    text.replace("ForSequenceClassification", "ForCausalLM").into_bytes()
}

fn headless(weights: &[u8]) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(weights).unwrap();
    let kept = tensors.iter().filter(|(name, _)| *name != "score.weight");
    safetensors::serialize(kept, None).unwrap()
}

/// An engine directory, and what runs it.
pub(crate) struct Engine {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) factory: EngineFactory,
    /// Lives for as long as the engine does.
    pub(crate) built: Built,
}

/// A server in this process.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) handle: Handle,
    router: Router,
    _built: Built,
}

impl Server {
    /// On an engine of one of the checkpoints, whichever kind is tested.
    pub(crate) fn start(name: &str) -> Self {
        Self::on(super::engines::generating(Built::new(name, Dtype::F32)), |_| {})
    }

    /// On the CPU engine, with options changed by `change`.
    pub(crate) fn of(built: Built, change: impl FnOnce(&mut Settings)) -> Self {
        let (path, manifest, factory) = (built.path(), built.manifest.clone(), built.factory().into());
        Self::on(Engine { path, manifest, factory, built }, change)
    }

    pub(crate) fn on(engine: Engine, change: impl FnOnce(&mut Settings)) -> Self {
        let Engine { path, manifest, factory, built } = engine;
        let encoder = Encoder::open(&path, &manifest.prompt).unwrap();
        let mut settings = Settings::defaults(path);
        change(&mut settings);
        let app = Arc::new(App::new(settings, &manifest).unwrap());
        let metrics = app.metrics.clone();
        let handle = scheduler::start(factory, app.settings.scheduler(), metrics.clone()).unwrap();
        app.start(Generator::new(
            encoder,
            &manifest,
            handle.clone(),
            metrics,
            app.settings.engine.generation_config,
        ));
        Self { router: router(app.clone()).unwrap(), app, handle, _built: built }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        send(&self.router, Request::get(path).body(Body::empty()).unwrap()).await.json()
    }

    /// Posts JSON to a path; returns the answer before it is read.
    pub(crate) async fn begin(&self, path: &str, body: &Value) -> axum::http::Response<Body> {
        self.router.clone().oneshot(json_request(path, body.to_string())).await.unwrap()
    }

    pub(crate) async fn ask(&self, path: &str, body: &Value) -> TestResponse {
        TestResponse::read(self.begin(path, body).await).await
    }
}

impl TestResponse {
    /// The chunks of a stream, which must end as one does.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let rest = self.text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("{}", self.text));
        let events = rest.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}
