//! `assay score` over servers that are not Assay, or answer something else than scores: no such answer becomes a score.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::engines::instant;
use super::score_servers::{bind, run, serve};
use super::server::Server;

/// A server with these routes on a port of its own.
struct Fake {
    url: String,
    runtime: Option<Runtime>,
}

impl Fake {
    fn start(router: Router) -> Self {
        let listener = bind("127.0.0.1:0");
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { url, runtime: Some(serve(listener, router)) }
    }

    /// A server that lists a model, and answers chats and, if it has that route, rewards.
    fn answering(models: &str, chat: &str, rewards: Option<&str>) -> Self {
        let (models, chat) = (models.to_owned(), chat.to_owned());
        let mut router = Router::new()
            .route("/v1/models", get(async move || models))
            .route("/v1/chat/completions", post(async move || chat));
        if let Some(rewards) = rewards.map(str::to_owned) {
            let missing =
                json!({"error": {"message": "`messages` is missing", "param": "messages"}}).to_string();
            router = router.route(
                "/v1/rewards",
                post(async move |body: String| match body.as_str() {
                    "{}" => (StatusCode::BAD_REQUEST, missing),
                    _ => (StatusCode::OK, rewards),
                }),
            );
        }
        Self::start(router)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn rows(rows: &[Value]) -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in.jsonl");
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    (directory, path)
}

const MODELS: &str = r#"{"data": [{"id": "m"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_scores_stops_the_run_and_says_what_is_wrong_with_it() {
    let chats = [
        ("", "EOF"),
        ("<html>busy</html>", "expected value"),
        (r#"{"error": {"message": "busy"}}"#, "missing field `choices`"),
        (r#"{"choices": []}"#, "no logprobs"),
        (r#"{"choices": [{"logprobs": null}]}"#, "no logprobs"),
        (r#"{"choices": [{"logprobs": {"content": []}}]}"#, "logprobs are empty"),
        (r#"{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": NaN}]}}]}"#, "expected value"),
        (
            r#"{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": null}]}}]}"#,
            "invalid type: null",
        ),
        (r#"{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": 1e999}]}}]}"#, "out of range"),
        (
            r#"{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": 1}, {"token": "a", "logprob": 2}]}}]}"#,
            "`a` twice",
        ),
    ];
    let rewards = [
        ("", "EOF"),
        ("<html>busy</html>", "expected value"),
        (r#"{"error": {"message": "busy"}}"#, "missing field `data`"),
        (r#"{"rewards": [1.0, 2.0]}"#, "missing field `data`"),
        (r#"{"data": []}"#, "0 items for 1 conversations"),
        (r#"{"data": [{"index": 0}]}"#, "neither scores nor an error"),
        (r#"{"data": [{"index": 1, "scores": {"a": 1.0}}]}"#, "out of range"),
        (r#"{"data": [{"index": 0, "scores": {"a": NaN}}]}"#, "expected value"),
        (r#"{"data": [{"index": 0, "scores": {"a": "1.0"}}]}"#, "not a number"),
    ];
    let (_folder, input) = rows(&[json!({"prompt": "What is 1+1?", "response": "2"})]);
    let cases = chats.map(|(chat, words)| (chat, None, words)).into_iter();
    let cases = cases.chain(rewards.map(|(answer, words)| ("", Some(answer), words)));
    for (index, (chat, rewards, words)) in cases.enumerate() {
        let fake = Fake::answering(MODELS, chat, rewards);
        let error = run(&input, &format!("{index}.jsonl"), &[&fake.url]).await.unwrap_err();
        assert!(error.contains("cannot read scores") && error.contains(words), "{chat} {rewards:?}: {error}");
    }
    for models in ["", "<html>", r#"{"models": []}"#] {
        let fake = Fake::answering(models, "", None);
        let error = run(&input, "models.jsonl", &[&fake.url]).await.unwrap_err();
        assert!(error.contains("/v1/models does not list models"), "{models}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_names_the_variable_to_set() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "sk-0123456789abcdef trainer").unwrap();
    let with_keys = |settings: &mut assay::config::Settings| {
        settings.security.api_keys_file = Some(keys.path().to_owned());
    };
    let fake = Fake::start(Server::with(with_keys, instant()).router());
    let (_folder, input) = rows(&[json!({"prompt": "What is 1+1?", "response": "2"})]);
    let error = run(&input, "out.jsonl", &[&fake.url]).await.unwrap_err();
    assert!(error.contains("API key") && error.contains("set ASSAY_API_KEY"), "{error}");
    let model = ["--model", "m"];
    let error = super::score_servers::run_with(&input, "out.jsonl", &[&fake.url], &model).await.unwrap_err();
    assert!(error.contains("set ASSAY_API_KEY"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_there_is_no_reason_to_run_the_command_again() {
    let fake = Fake::start(Server::start().router());
    let (_folder, input) = rows(&[json!({"prompt": "What is 1+1?", "response": "2"})]);
    let error =
        super::score_servers::run_with(&input, "out.jsonl", &[&fake.url], &["--model", "other"]).await;
    let error = error.unwrap_err();
    assert!(error.contains("`other` does not exist") && !error.contains("run the same command"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_long_has_the_words_of_an_engine_in_this_process() {
    let fake = Fake::start(Server::start().router());
    let (_folder, input) = rows(&[
        json!({"prompt": "What is 1+1?", "response": "2"}),
        json!({"prompt": "What is 1+1?", "response": "more ".repeat(300)}),
    ]);
    let status = run(&input, "out.jsonl", &[&fake.url]).await.unwrap_err();
    assert_eq!(status, "status 3");
    let written = std::fs::read_to_string(input.with_file_name("out.jsonl")).unwrap();
    let row: Value = serde_json::from_str(written.lines().nth(1).unwrap()).unwrap();
    let error = row["score_error"].as_str().unwrap();
    assert!(error.starts_with("the text has ") && error.ends_with("256 tokens"), "{error}");
}
