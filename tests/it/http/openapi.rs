//! The OpenAPI document: its examples are answered, the pages show the same ones, and it says which routes ask
//! for a key.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::engines::instant;
use super::server::Server;
use crate::generation::language;

/// The routes that only a model that generates text answers.
const GENERATE: [&str; 3] = ["/v1/completions", "/v1/chat/completions/batch", "/generative_scoring"];

async fn document(server: &Server) -> Value {
    server.get("/openapi.json").await.json()
}

/// Path and example of every route with a request body.
fn examples(document: &Value) -> Vec<(String, Value)> {
    let mut examples = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if let Some(operation) =
            methods.get("post").filter(|operation| operation.get("requestBody").is_some())
        {
            let example = operation.pointer("/requestBody/content/application~1json/example");
            let example = example.unwrap_or_else(|| panic!("{path} has no example"));
            examples.push((path.clone(), example.clone()));
        }
    }
    examples
}

#[tokio::test]
async fn every_example_is_answered() {
    let scores = Server::with(|settings| settings.server.served_model_name = vec!["demo".into()], instant());
    let built = language::Built::new("lm-head-tiny", assay::manifest::Dtype::F32);
    let generates =
        language::Server::of(built, |settings| settings.server.served_model_name = vec!["demo".into()]);
    let examples = examples(&document(&scores).await);
    assert!(examples.len() > 10);
    for (path, example) in examples {
        let (status, text) = if GENERATE.contains(&path.as_str()) {
            let answer = generates.ask(&path, &example).await;
            (answer.status, answer.text)
        } else {
            let answer = scores.ask(&path, example).await;
            (answer.status, answer.text)
        };
        assert_eq!(status, 200, "{path}: {text}");
    }
}

/// The request in the section of a route on a page.
fn documented(page: &str, path: &str) -> Option<Value> {
    let (_, section) = page.split_once(&format!("### `POST {path}`\n"))?;
    let section = section.split("\n##").next()?;
    let (_, block) = section.split_once("```json\n")?;
    Some(serde_json::from_str(block.split("```").next()?).unwrap())
}

#[tokio::test]
async fn the_page_about_the_api_shows_the_same_examples() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut compared = 0;
    for (path, example) in examples(&document(&Server::start()).await) {
        if let Some(shown) = documented(&page, &path) {
            assert_eq!(shown, example, "{path}");
            compared += 1;
        }
    }
    assert!(compared > 8, "{compared}");
}

#[tokio::test]
async fn the_page_shows_summaries_without_the_marks_of_markdown() {
    let document = document(&Server::start()).await;
    let mut summaries = 0;
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        let Some(summary) = operation["summary"].as_str() else { continue };
        assert!(!summary.contains('`'), "{summary}");
        summaries += 1;
    }
    assert!(summaries > 30, "{summaries}");
}

#[tokio::test]
async fn each_operation_says_whether_it_asks_for_a_key() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&keys, "sk-0123456789abcdef").unwrap();
    for protect_metrics in [false, true] {
        let server = Server::with(
            |settings| {
                settings.security.api_keys_file = Some(keys.path().to_owned());
                settings.security.protect_metrics = protect_metrics;
            },
            instant(),
        );
        let document = document(&server).await;
        assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let open = operation["security"] == json!([]);
                assert!(open || operation["security"] == json!([{"api_key": []}]), "{path}");
                let answer = match method.as_str() {
                    "get" => server.get(&path.replace("{name}", "x")).await,
                    _ => server.ask(path, json!({})).await,
                };
                assert_eq!(answer.status == 401, !open, "{path}: {}", answer.text);
            }
        }
        for open in ["/", "/playground.js", "/openapi.json"] {
            assert_eq!(server.get(open).await.status, 200, "{open}");
        }
        assert_eq!(server.get("/nothing").await.status, 401);
    }
    let open = Server::start();
    assert!(document(&open).await["components"].get("securitySchemes").is_none());
}

/// Every `$ref` in a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_schema_that_is_referred_to_is_there() {
    let document = document(&Server::start()).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}
