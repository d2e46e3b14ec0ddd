//! An encoder answers on the routes of decoders, with one score for a pair.

use std::path::Path;
use std::sync::Arc;

use assay::api::{App, router};
use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::config::Settings;
use assay::engine::EngineOptions;
use assay::engine::cpu::CpuFactory;
use assay::manifest::Dtype;
use assay::prompt::Encoder;
use assay::scheduler;
use assay::serving::Scorer;
use axum::Router;
use serde_json::json;

use crate::support::http::post;

const PROMPT: &str = "What is 2 + 3?";
const RESPONSE: &str = "It is 5.";

/// A server of a tiny checkpoint, on the CPU engine.
fn serve(name: &str, directory: &Path) -> Router {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name);
    let engine = directory.join("engine");
    let options = CpuBuildOptions { dtype: Some(Dtype::F32), ..CpuBuildOptions::new(checkpoint, &engine) };
    let manifest = build(&options, &Silent).unwrap();
    let app = Arc::new(App::new(Settings::defaults(engine.clone()), &manifest).unwrap());
    let factory = CpuFactory::open(&engine, &manifest, &EngineOptions::default()).unwrap();
    let settings = &app.settings;
    let handle = scheduler::start(factory.into(), settings.scheduler(), app.metrics.clone()).unwrap();
    let encoder = Encoder::open(&engine, &manifest.prompt).unwrap();
    let head = settings.scoring.head(&manifest.head).unwrap();
    app.start(Scorer::new(encoder, head, handle, app.metrics.clone()));
    router(app).unwrap()
}

#[tokio::test]
async fn a_pair_has_one_score_on_every_route() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["deberta-tiny", "bert-tiny", "modernbert-mean"] {
        let router = serve(name, &directory.path().join(name));
        let messages = json!([{"role": "user", "content": PROMPT}]);
        let (_, ranked) = post(
            &router,
            "/v1/rewards",
            &json!({"messages": messages, "responses": [RESPONSE, "No.", "Five"]}),
        )
        .await;
        let scores: Vec<f64> =
            (0..3).map(|index| ranked["data"][index]["scores"]["reward"].as_f64().unwrap()).collect();
        assert!(scores[0] != scores[1] && scores[1] != scores[2], "{name}: {scores:?}");

        let conversation =
            json!([{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSE}]);
        let (_, chat) = post(&router, "/v1/chat/completions", &json!({"messages": conversation})).await;
        let content = chat["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert!(content.starts_with("reward:"), "{name}: {content}");

        let body = json!({"query": PROMPT, "documents": [RESPONSE, "No."]});
        let (_, reranked) = post(&router, "/v1/rerank", &body).await;
        let by_index = |index: u64| {
            let results = reranked["results"].as_array().unwrap();
            let found = results.iter().find(|result| result["index"] == index).unwrap();
            found["relevance_score"].as_f64().unwrap()
        };
        assert_eq!([by_index(0), by_index(1)], scores[..2], "{name}");

        let (_, scored) = post(&router, "/score", &json!({"text_1": PROMPT, "text_2": RESPONSE})).await;
        assert_eq!(scored["data"][0]["score"].as_f64(), Some(scores[0]), "{name}: {scored}");

        let (_, predicted) =
            post(&router, "/predict", &json!({"inputs": [[PROMPT, RESPONSE]], "raw_scores": true})).await;
        assert_eq!(predicted[0][0]["score"].as_f64(), Some(scores[0]), "{name}: {predicted}");

        let (_, classified) = post(&router, "/classify", &json!({"messages": conversation})).await;
        assert_eq!(classified["data"][0]["probs"][0].as_f64(), Some(scores[0]), "{name}: {classified}");
    }
}

#[tokio::test]
async fn a_file_has_the_scores_of_the_routes() {
    let directory = tempfile::tempdir().unwrap();
    let router = serve("deberta-tiny", directory.path());
    let path = |name: &str| directory.path().join(name);
    let rows: Vec<(String, String)> = (0..9)
        .map(|row| (format!("What is {row} + 3?"), format!("It is {}. ", row * 2).repeat(row + 1)))
        .collect();
    let line = |(prompt, response): &(String, String)| {
        json!({"prompt": prompt, "response": response}).to_string() + "\n"
    };
    std::fs::write(path("in.jsonl"), rows.iter().map(line).collect::<String>()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_assay"));
    command.arg("score").arg(path("in.jsonl")).arg("--engine").arg(path("engine"));
    let output = command.arg("--output").arg(path("out.jsonl")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let scored = std::fs::read_to_string(path("out.jsonl")).unwrap();
    assert_eq!(scored.lines().count(), rows.len());
    for ((prompt, response), line) in rows.iter().zip(scored.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let messages = json!([{"role": "user", "content": prompt}]);
        let (_, asked) =
            post(&router, "/v1/rewards", &json!({"messages": messages, "responses": [response]})).await;
        assert_eq!(line["score_reward"], asked["data"][0]["scores"]["reward"], "{line}: {asked}");
        assert!(line["score_reward"].is_number(), "{line}");
    }
}

#[tokio::test]
async fn texts_that_are_too_long_and_scores_of_each_token_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let router = serve("bert-tiny", directory.path());
    let body = json!({"messages": [{"role": "user", "content": PROMPT}],
        "responses": ["many words ".repeat(400)]});
    let (status, answer) = post(&router, "/v1/rewards", &body).await;
    assert!(answer.to_string().contains("512"), "{status}: {answer}");
    let body = json!({"input": "a text", "task": "token_classify"});
    let (status, answer) = post(&router, "/pooling", &body).await;
    assert!(status.is_client_error(), "{answer}");
}
