//! Many candidates in one call.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::compat::{RESPONSE, templated};
use super::engines::{failing, instant};
use super::server::{ATTRIBUTES, MODEL, Server, TestResponse};

const ROUTE: &str = "/v1/rewards";

fn prompt() -> Value {
    json!([{"role": "user", "content": "I am going to Paris, what should I see?"}])
}

fn conversation(response: &str) -> Value {
    json!([prompt()[0], {"role": "assistant", "content": response}])
}

fn best_of(responses: &[&str]) -> Value {
    json!({"model": MODEL, "messages": prompt(), "responses": responses})
}

async fn ok(server: &Server, body: Value) -> Value {
    let answer = server.ask(ROUTE, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn refused(server: &Server, body: Value) -> (TestResponse, String) {
    let answer = server.ask(ROUTE, body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    let param = answer.json()["error"]["param"].as_str().unwrap_or_default().to_owned();
    (answer, param)
}

fn items(answer: &Value) -> &Vec<Value> {
    answer["data"].as_array().unwrap()
}

#[tokio::test]
async fn responses_to_one_prompt_have_the_scores_of_the_conversations_they_complete() {
    let server = Server::start();
    let responses = ["The Louvre.", "", "Nothing: stay at home."];
    let answer = ok(&server, best_of(&responses)).await;
    let whole = json!({"conversations": responses.map(conversation)});
    let conversations = ok(&server, whole).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(MODEL)));
    for (index, response) in responses.iter().enumerate() {
        let item = &answer["data"][index];
        assert_eq!(item["index"], index);
        assert_eq!(item["scores"], conversations["data"][index]["scores"]);
        let chat = server.chat(json!({"model": MODEL, "messages": conversation(response)})).await.json();
        let logprobs = chat["choices"][0]["logprobs"]["content"].as_array().unwrap();
        let names: Vec<_> = item["scores"].as_object().unwrap().keys().collect();
        assert_eq!(names, ATTRIBUTES);
        for entry in logprobs {
            assert_eq!(item["scores"][entry["token"].as_str().unwrap()], entry["logprob"]);
        }
        assert_eq!(item["usage"]["prompt_tokens"], chat["usage"]["prompt_tokens"]);
    }
}

#[tokio::test]
async fn candidates_are_ranked_by_the_first_attribute_or_the_one_named() {
    let server = Server::start();
    let mut request = best_of(&["a", "b", "c", "b"]);
    let answer = ok(&server, request.clone()).await;
    assert_eq!(answer["ranked_by"], "helpfulness");
    request["rank_by"] = "verbosity".into();
    let by_verbosity = ok(&server, request).await;
    for (answer, attribute) in [(&answer, "helpfulness"), (&by_verbosity, "verbosity")] {
        let score = |item: &Value| item["scores"][attribute].as_f64().unwrap();
        for item in items(answer) {
            let better = items(answer).iter().filter(|other| score(other) > score(item)).count();
            assert_eq!(item["rank"], 1 + better);
        }
        assert_eq!(answer["data"][1]["rank"], answer["data"][3]["rank"], "equal texts share a rank");
    }
}

#[tokio::test]
async fn the_shared_prompt_is_computed_once() {
    let server = Server::start();
    let long = "What should I see in Paris, and what may I leave out? ".repeat(3);
    let responses: Vec<String> = (0..8).map(|index| format!("Number {index}.")).collect();
    let request = json!({
        "messages": [{"role": "user", "content": long}], "responses": responses, "timing": true,
    });
    let answer = ok(&server, request).await;
    let computed = |item: &Value| {
        item["usage"]["prompt_tokens"].as_u64().unwrap() - item["usage"]["cached_tokens"].as_u64().unwrap()
    };
    let whole = items(&answer).iter().filter(|item| item["usage"]["cached_tokens"] == 0).count();
    assert_eq!(whole, 1, "one alone computes the prompt: {answer}");
    assert!(items(&answer).iter().filter(|item| computed(item) < 40).count() >= 7);
    let sum =
        |field: &str| items(&answer).iter().map(|item| item["usage"][field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(answer["usage"]["prompt_tokens"], sum("prompt_tokens"));
    assert_eq!(answer["usage"]["cached_tokens"], sum("cached_tokens"));
    assert!(answer["data"][0]["timing"]["queue"].is_f64());
}

#[tokio::test]
async fn an_error_in_one_candidate_fails_no_other() {
    let server = Server::start();
    let long = "too long ".repeat(400);
    let answer = ok(&server, best_of(&["The Louvre.", &long, "The Seine."])).await;
    let failed = &answer["data"][1];
    assert_eq!(failed["error"]["code"], "context_length_exceeded");
    assert!(failed.get("scores").is_none() && failed.get("rank").is_none());
    assert!(answer["data"][0]["scores"].is_object() && answer["data"][2]["scores"].is_object());

    let mixed = json!({"conversations": [
        conversation("The Louvre."), 7, [], [{"role": 5, "content": "beep"}], [{"role": "user"}],
    ]});
    let answer = ok(&server, mixed).await;
    assert!(answer["data"][0]["scores"].is_object());
    let errors: Vec<_> = items(&answer)[1..].iter().map(|item| &item["error"]["param"]).collect();
    assert_eq!(
        errors,
        ["conversations[1]", "conversations[2]", "conversations[3][0].role", "conversations[4][0].content"]
    );
    assert!(server.get("/metrics").await.text.contains("reason=\"context_length_exceeded\""));
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_refused_by_field() {
    let server = Server::with(|settings| settings.server.max_request_items = 2, instant());
    for (request, field) in [
        (json!({}), "messages"),
        (json!({"messages": prompt()}), "responses"),
        (json!({"messages": prompt(), "responses": []}), "responses"),
        (json!({"messages": prompt(), "responses": [7]}), "responses[0]"),
        (json!({"messages": prompt(), "responses": ["a", "b", "c"]}), "responses"),
        (json!({"messages": prompt(), "conversations": [prompt()]}), "messages"),
        (json!({"conversations": []}), "conversations"),
        (json!({"messages": prompt(), "responses": ["a"], "rank_by": "beauty"}), "rank_by"),
        (json!({"messages": prompt(), "responses": ["a"], "temprature": 1}), "temprature"),
    ] {
        let (answer, param) = refused(&server, request.clone()).await;
        assert_eq!(param, field, "{request} was answered {}", answer.text);
    }
    let unknown =
        server.ask(ROUTE, json!({"model": "other", "messages": prompt(), "responses": ["a"]})).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
}

#[tokio::test]
async fn a_prompt_repeated_beyond_what_a_server_takes_is_refused() {
    let server = Server::with(|settings| settings.server.max_body_bytes = 4096, instant());
    let text = "x".repeat(2048);
    let call = json!({"type": "function", "function": {"name": "f", "arguments": {"text": text}}});
    for messages in [
        json!([{"role": "user", "content": text}]),
        json!([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]),
    ] {
        let request = json!({"messages": messages, "responses": vec!["a"; 9]});
        assert_eq!(refused(&server, request).await.1, "responses");
    }
}

#[tokio::test]
async fn a_call_without_any_score_has_the_status_of_the_failure() {
    let server = Server::with(|_| {}, failing("on purpose"));
    let answer = server.ask(ROUTE, best_of(&["a", "b"])).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "engine_failed"));
}

#[tokio::test]
async fn a_strict_server_scores_the_assistants_turns_alone() {
    let server = Server::with(|settings| settings.server.require_assistant_turn = true, instant());
    let answer = ok(&server, json!({"conversations": [prompt(), conversation("The Louvre.")]})).await;
    assert_eq!(answer["data"][0]["error"]["param"], "conversations[0][0].role");
    assert!(answer["data"][1]["scores"].is_object());
}

#[tokio::test]
async fn templated_texts_have_the_scores_that_trainers_get_for_them() {
    let server = Server::start();
    let texts = ["Louvre.", "Stay at home."].map(|response| templated(&server).replace(RESPONSE, response));
    let answer = ok(&server, json!({"texts": texts, "timing": true})).await;
    let trained = server.ask("/get_reward", json!({"query": texts})).await.json();
    let mut ranks: Vec<u64> = Vec::new();
    for (index, item) in items(&answer).iter().enumerate() {
        assert_eq!(item["scores"]["helpfulness"], trained["rewards"][index]);
        assert!(item["timing"]["engine"].is_number(), "{item}");
        ranks.push(item["rank"].as_u64().unwrap());
    }
    ranks.sort_unstable();
    assert_eq!(ranks, [1, 2]);

    let long = templated(&server).replace(RESPONSE, &"more ".repeat(300));
    let answer = ok(&server, json!({"texts": [texts[0], long, 5]})).await;
    assert!(items(&answer)[0]["scores"].is_object());
    for (index, field) in [(1, "texts[1]"), (2, "texts[2]")] {
        assert_eq!(items(&answer)[index]["error"]["param"], field);
    }
    for cut in [json!({"truncation": "left"}), json!({"truncate_prompt_tokens": 64})] {
        let mut body = json!({"texts": [long]});
        body.as_object_mut().unwrap().extend(cut.as_object().unwrap().clone());
        let answer = ok(&server, body).await;
        assert!(items(&answer)[0]["truncated"]["tokens_removed"].as_u64().unwrap() > 0, "{answer}");
    }
    for (body, field) in [
        (json!({"texts": []}), "texts"),
        (json!({"texts": ["a"], "messages": prompt()}), "messages"),
        (json!({"texts": ["a"], "conversations": [conversation("a")]}), "texts"),
        (json!({"texts": ["a"], "add_generation_prompt": true}), "add_generation_prompt"),
        (json!({"texts": ["a"], "chat_template_kwargs": {"x": 1}}), "chat_template_kwargs"),
    ] {
        assert_eq!(refused(&server, body).await.1, field);
    }
}
