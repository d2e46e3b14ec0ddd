//! A server in this process, and the requests that tests send it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay::api::{App, router};
use assay::config::Settings;
use assay::engine::{EngineFactory, Limits};
use assay::manifest::{BuildLimits, Manifest, Profile, TEMPLATE_FILE, TOKENIZER_FILE};
use assay::prompt::Encoder;
use assay::scheduler::{self, Handle};
use assay::serving::Scorer;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engines::instant;
pub use crate::support::http::TestResponse;
use crate::support::http::{json_request, send};
use crate::support::tiny;

/// Attributes of the simulated model.
pub const ATTRIBUTES: [&str; 5] = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
/// Name of the simulated model.
pub const MODEL: &str = "nvidia/nemotron-4-340b-reward";
/// What the simulated engine holds.
pub const LIMITS: Limits =
    Limits { max_seq_len: 256, max_batch_size: 8, max_num_tokens: 512, kv_blocks: 64, tokens_per_block: 16 };

/// A server whose engine is loaded.
pub struct Server {
    pub app: Arc<App>,
    pub scheduler: Handle,
    router: Router,
    _engine: TempDir,
}

impl Server {
    /// One with default options.
    pub fn start() -> Self {
        Self::with(|_| {}, instant())
    }

    /// One with options changed by `change`, on the engine that `factory` starts.
    pub fn with(change: impl FnOnce(&mut Settings), factory: EngineFactory) -> Self {
        let mut server = Self::starting(change);
        server.load(factory);
        server
    }

    /// One whose engine is not loaded yet; [`Server::scheduler`] is of another engine until then.
    pub fn starting(change: impl FnOnce(&mut Settings)) -> Self {
        let engine = engine_directory();
        let mut settings = Settings::defaults(engine.path().to_owned());
        change(&mut settings);
        let app = Arc::new(App::new(settings, &manifest()).unwrap());
        let scheduler =
            scheduler::start(instant(), scheduler::SchedulerOptions::default(), Arc::new(())).unwrap();
        Self { router: router(app.clone()).unwrap(), app, scheduler, _engine: engine }
    }

    /// Loads the engine.
    pub fn load(&mut self, factory: EngineFactory) {
        let settings = &self.app.settings;
        let manifest = manifest();
        let metrics = self.app.metrics.clone();
        self.scheduler = scheduler::start(factory, settings.scheduler(), metrics.clone()).unwrap();
        let encoder = Encoder::open(&settings.engine.directory, &manifest.prompt)
            .unwrap()
            .with_variables(settings.server.chat_template_kwargs.clone().unwrap_or_default());
        let head = settings.scoring.head(&manifest.head).unwrap();
        self.app.start(Scorer::new(encoder, head, self.scheduler.clone(), metrics));
    }

    /// The routes, for answers that are not text.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends any request.
    pub async fn send(&self, request: Request<Body>) -> TestResponse {
        send(&self.router, request).await
    }

    /// Sends a chat completion request with any body.
    pub async fn post(&self, body: impl Into<Body>) -> TestResponse {
        self.send(chat(body)).await
    }

    /// Sends a chat completion request.
    pub async fn chat(&self, body: Value) -> TestResponse {
        self.post(body.to_string()).await
    }

    /// Posts JSON to a path.
    pub async fn ask(&self, path: &str, body: Value) -> TestResponse {
        self.send(json_request(path, body.to_string())).await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> TestResponse {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

impl TestResponse {
    /// OpenAI's `code` of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as JSON on several lines, without what differs each time.
    pub fn snapshot(&self) -> String {
        let mut json = self.json();
        for (name, value) in [("id", json!("ID")), ("created", json!(0))] {
            if json.get(name).is_some() {
                json[name] = value;
            }
        }
        serde_json::to_string_pretty(&json).unwrap()
    }
}

/// A chat completion request with any body.
pub fn chat(body: impl Into<Body>) -> Request<Body> {
    json_request("/v1/chat/completions", body)
}

/// A good request.
pub fn paris() -> Value {
    json!({
        "model": MODEL,
        "messages": [
            {"role": "user", "content": "I am going to Paris, what should I see?"},
            {"role": "assistant", "content": "The Louvre, and the Seine by night."},
        ],
    })
}

/// Tokenizer and template of a tiny checkpoint, without weights.
pub fn engine_directory() -> TempDir {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/llama3-tiny");
    let engine = tempfile::tempdir().unwrap();
    let copy = |name: &str| -> PathBuf { engine.path().join(name) };
    std::fs::copy(checkpoint.join("tokenizer.json"), copy(TOKENIZER_FILE)).unwrap();
    let config = std::fs::read_to_string(checkpoint.join("tokenizer_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    std::fs::write(copy(TEMPLATE_FILE), config["chat_template"].as_str().unwrap()).unwrap();
    engine
}

/// The manifest of the simulated model.
pub fn manifest() -> Manifest {
    let mut manifest = tiny::manifest();
    manifest.profile = Profile { id: "0".repeat(64), name: "simulated".into() };
    manifest.model.name = MODEL.into();
    manifest.limits = BuildLimits {
        max_seq_len: LIMITS.max_seq_len,
        max_batch_size: LIMITS.max_batch_size,
        max_num_tokens: LIMITS.max_num_tokens,
    };
    manifest.head.attributes = ATTRIBUTES.map(str::to_owned).to_vec();
    let special = [("bos_token", "<|begin_of_text|>"), ("eos_token", "<|eot_id|>")];
    manifest.prompt.special_tokens = special.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    manifest
}
