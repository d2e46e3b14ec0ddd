//! The HTTP server over a simulated engine, without a port.

use std::path::Path;
use std::sync::Arc;

use assay::api::{App, Generator, Scorer, router};
use assay::builder::{BuildOptions, Silent, build};
use assay::config::Settings;
use assay::engine::simulated::SimulatedFactory;
use assay::engine::{Limits, PrefixSharing};
use assay::manifest::{Dtype, Manifest, Task};
use assay::prompt::Encoder;
use assay::scheduler;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::{fixture, memory_directory};

const LIMITS: Limits =
    Limits { max_seq_len: 256, max_batch_size: 8, max_num_tokens: 512, kv_blocks: 64, tokens_per_block: 16 };

/// A server of one test checkpoint.
pub struct Server {
    router: Router,
    runtime: Runtime,
    _engine: TempDir,
}

impl Server {
    /// A server that scores, or one that generates text.
    pub fn new(checkpoint: &str, task: Task) -> Self {
        let (directory, manifest) = engine(checkpoint, task);
        let engine = directory.path().join("engine");
        let app = Arc::new(App::new(settings(&engine), &manifest).expect("the options are valid"));
        let factory = SimulatedFactory::new(LIMITS, PrefixSharing::WithinIteration, manifest.logits()).into();
        let (options, metrics) = (app.settings.scheduler(), app.metrics.clone());
        let scheduler = scheduler::start(factory, options, metrics.clone()).expect("the engine starts");
        let encoder = Encoder::open(&engine, &manifest.prompt).expect("the engine has a tokenizer");
        let overload = app.settings.overload_status;
        if task.generates() {
            app.start_generating(Generator::new(encoder, &manifest, scheduler, metrics, &app.settings));
        } else {
            let head = app.settings.head(&manifest.head).expect("the options fit the head");
            app.start(Scorer::new(encoder, head, scheduler, metrics, overload));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            router: router(app).expect("the options are valid"),
            runtime: runtime.expect("a runtime starts"),
            _engine: directory,
        }
    }

    /// The response to a request, read to its end.
    pub fn post(&self, path: &str, body: &[u8]) -> Option<(Response<()>, Vec<u8>)> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        // A path that no client can send.
        let request = request.body(Body::from(body.to_vec())).ok()?;
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the response has an end");
            Some((Response::from_parts(parts, ()), bytes.to_vec()))
        })
    }
}

fn settings(engine: &Path) -> Settings {
    let mut settings = Settings::defaults(engine.to_owned());
    settings.served_model_name = vec!["demo".into()];
    settings
}

fn engine(checkpoint: &str, task: Task) -> (TempDir, Manifest) {
    let directory = memory_directory();
    let mut options = BuildOptions::new(fixture(checkpoint, ""), directory.path().join("engine"));
    options.dtype = Some(Dtype::F32);
    options.task = Some(task);
    let manifest = build(&options, &Silent).expect("the test checkpoint can be built");
    (directory, manifest)
}
