//! The HTTP server over a simulated engine, without a port.

use std::path::Path;
use std::sync::Arc;

use assay::api::{App, router};
use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::config::Settings;
use assay::engine::simulated::Simulation;
use assay::manifest::{Dtype, Manifest, Task};
use assay::serving::load::load;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::{fixture, memory_directory};

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
        let settings = settings(&directory.path().join("engine"));
        let app = Arc::new(App::new(settings, &manifest).expect("the options are valid"));
        let options = app.settings.load_options(&manifest).expect("the options are valid");
        app.start(load(&options, &manifest, app.metrics.clone()).expect("the engine can be loaded"));
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
    settings.server.served_model_name = vec!["demo".into()];
    settings.engine.simulate = Some(Simulation::Instant);
    settings.engine.max_seq_len = Some(256);
    settings
}

fn engine(checkpoint: &str, task: Task) -> (TempDir, Manifest) {
    let directory = memory_directory();
    let mut options = CpuBuildOptions::new(fixture(checkpoint, ""), directory.path().join("engine"));
    options.dtype = Some(Dtype::F32);
    options.common.checkpoint.task = Some(task);
    let manifest = build(&options, &Silent).expect("the test checkpoint can be built");
    (directory, manifest)
}
