//! A server on a language model of the test checkpoints.

use std::path::Path;
use std::sync::Arc;

use assay::api::{App, router};
use assay::config::Settings;
use assay::manifest::Dtype;
use assay::serving::load;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::generation::language::Built;
use crate::support::http::{json_request, send};

/// A judge with a score of digits and one of letters.
pub(super) const JUDGE: &str = r#"
attributes:
  quality:
    ask: How good is the last answer, from 0 to 4?
    answers: {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}
  letter:
    ask: Which letter is right, a or b?
    answers: {"a": 1, "b": -1.5}
"#;

pub(super) struct Server {
    router: Router,
    _engine: (Built, TempDir),
}

impl Server {
    /// One on the language model of a checkpoint, with a judge if one is given.
    pub(super) fn start(checkpoint: &str, judge: Option<&str>) -> Self {
        Self::on(Built::new(checkpoint, Dtype::F32), judge).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same on an engine, or why it does not start.
    pub(super) fn on(engine: Built, judge: Option<&str>) -> Result<Self, String> {
        Self::with(engine, judge, |_| {})
    }

    /// The same with other settings.
    pub(super) fn with(
        engine: Built,
        judge: Option<&str>,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, String> {
        let files = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults(engine.path());
        settings.server.served_model_name = vec!["tiny".into()];
        if judge == Some(JUDGE) {
            settings.server.alias = vec!["letters=letter".parse().unwrap()];
        }
        if let Some(judge) = judge {
            let path = files.path().join("judge.yaml");
            std::fs::write(&path, judge).unwrap();
            settings.scoring.judge = Some(path);
        }
        change(&mut settings);
        let manifest = &engine.manifest;
        let options = settings.load_options(manifest).map_err(|error| error.to_string())?;
        let app = Arc::new(App::new(settings, manifest).unwrap());
        app.start(load::load(&options, manifest, app.metrics.clone()).map_err(|error| error.to_string())?);
        Ok(Self { router: router(app).unwrap(), _engine: (engine, files) })
    }

    /// Serves on a port of its own; returns the address.
    pub(super) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// Posts JSON to a path.
    pub(super) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.post_text(path, body.to_string()).await
    }

    /// Posts a text that is JSON.
    pub(super) async fn post_text(&self, path: &str, body: String) -> (StatusCode, Value) {
        let answer = send(&self.router, json_request(path, body)).await;
        (answer.status, answer.json())
    }

    /// The digest of all that scores depend on, from the header of an answer.
    pub(super) async fn digest(&self) -> String {
        let request = Request::get("/v1/models").body(Body::empty()).unwrap();
        let answer = send(&self.router, request).await;
        answer.headers["x-assay-digest"].to_str().unwrap().to_owned()
    }

    /// The answer of `/v1/rewards`.
    pub(super) async fn rewards(&self, body: &Value) -> Value {
        let (status, answer) = self.post("/v1/rewards", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// The error of `/v1/rewards`: its message and its field.
    pub(super) async fn refusal(&self, body: &Value) -> (String, String) {
        let (status, answer) = self.post("/v1/rewards", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        let text = |field: &str| answer["error"][field].as_str().unwrap_or_default().to_owned();
        (text("message"), text("param"))
    }
}

/// A case of `tests/golden/judges/NAME.json`, which `tools/make_judge_goldens.py` writes.
pub(super) fn golden(checkpoint: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/judges");
    let text = std::fs::read_to_string(folder.join(format!("{checkpoint}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A conversation of some length, whose last answer is `answer`.
pub(super) fn conversation(answer: &str) -> Value {
    json!([
        {"role": "user", "content": "What is a KV cache? ".repeat(8)},
        {"role": "assistant", "content": answer},
    ])
}
