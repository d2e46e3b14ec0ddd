//! Judges on the routes of trainers, whose texts the chat template has rendered already.

use assay::config::Settings;
use assay::manifest::Dtype;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation};
use crate::generation::language::Built;

/// A conversation as the template of the test checkpoint renders it, and that without the end of its last turn.
async fn rendered(server: &Server, messages: &Value) -> (String, String) {
    let body = json!({"messages": messages, "add_generation_prompt": false});
    let (status, tokens) = server.post("/tokenize", &body).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let (_, text) = server.post("/detokenize", &json!({"tokens": tokens["tokens"]})).await;
    let whole = text["prompt"].as_str().unwrap().to_owned();
    let response = messages[1]["content"].as_str().unwrap();
    let open = whole[..whole.rfind(response).unwrap() + response.len()].to_owned();
    assert!(whole.len() > open.len(), "{whole}");
    (whole, open)
}

#[tokio::test]
async fn a_rendered_text_has_the_scores_of_its_messages() {
    for checkpoint in ["lm-head-tiny", "qwen3-tiny"] {
        let server = Server::start(checkpoint, Some(JUDGE));
        let messages = conversation("It keeps keys and values.");
        let expected = server.rewards(&json!({"conversations": [messages]})).await;
        let scores = &expected["data"][0]["scores"];
        let (whole, open) = rendered(&server, &messages).await;
        let (status, answer) = server.post("/get_reward", &json!({"query": [whole, open]})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["rewards"], json!([scores["quality"], scores["quality"]]), "{checkpoint}");
        // slime sends the start of the text and the response apart.
        let response = messages[1]["content"].as_str().unwrap();
        let prompt = open.strip_suffix(response).unwrap();
        let (status, answer) =
            server.post("/slime/reward", &json!({"prompt": prompt, "response": response})).await;
        assert_eq!((status, &answer), (StatusCode::OK, scores), "{checkpoint}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_about_is_refused_with_its_own_field() {
    let quotes = Server::start("lm-head-tiny", Some(&format!("{JUDGE}layout: quote\n")));
    let server = Server::start("lm-head-tiny", Some(JUDGE));
    let (whole, open) = rendered(&server, &conversation("Yes.")).await;
    let prompt = open.strip_suffix("Yes.").unwrap();
    for (server, route, body, param, reason) in [
        (
            &server,
            "/get_reward",
            json!({"query": ["no turns"]}),
            "query[0]",
            "this is a plain text or token ids",
        ),
        (&quotes, "/get_reward", json!({"query": [whole]}), "query[0]", "depends on the messages"),
        (
            &quotes,
            "/slime/reward",
            json!({"prompt": prompt, "response": "Yes."}),
            "prompt",
            "on the messages",
        ),
        (
            &server,
            "/pooling",
            json!({"model": "tiny", "input": [1, 2, 3]}),
            "input",
            "plain text or token ids",
        ),
        (
            &server,
            "/v1/score",
            json!({"query": "a", "items": ["b"], "label_token_ids": [1, 2]}),
            "label_token_ids",
            "an engine that generates text, without `judge`",
        ),
        (
            &server,
            "/v1/completions",
            json!({"prompt": whole}),
            "",
            "judges conversations and generates no text",
        ),
    ] {
        let (status, answer) = server.post(route, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert_eq!(answer["error"]["param"].as_str().unwrap_or_default(), param, "{route}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(reason), "{route}: {answer}");
    }
}

#[tokio::test]
async fn the_questions_of_a_judge_count_in_the_size_of_a_call() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let most = |settings: &mut Settings| settings.server.max_body_bytes = 1000;
    let mut judge = "attributes:\n".to_owned();
    for number in 0..10 {
        judge += &format!("  q{number}: {{ask: 'Is it {number}?', answers: {{a: 1, b: 0}}}}\n");
    }
    let server = Server::with(built, Some(&judge), most).unwrap();
    let (whole, _) = rendered(
        &server,
        &json!([
            {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
        ]),
    )
    .await;
    let query = vec![whole.as_str(); 2];
    let (status, answer) = server.post("/get_reward", &json!({"query": query})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let query = vec![whole.as_str(); 800 / whole.len()];
    let (status, answer) = server.post("/get_reward", &json!({"query": query})).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("query[0]")),
        "{answer}"
    );
    assert!(answer["error"]["message"].as_str().unwrap().contains("more than the 4000"), "{answer}");
}
