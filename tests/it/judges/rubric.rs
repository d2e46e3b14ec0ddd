//! Rubrics in requests to a model that generates text, and what is refused before anything is queued.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation};

fn item(name: &str, ask: &str) -> Value {
    json!({"name": name, "ask": ask, "answers": {"a": 1, "b": 0}})
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The items of the judge that files describe.
fn judges_items() -> Value {
    json!([
        {"name": "quality", "ask": "How good is the last answer, from 0 to 4?",
         "answers": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}, "weight": 2},
        {"name": "letter", "ask": "Which letter is right, a or b?", "answers": {"a": 1, "b": -1.5}, "weight": -0.5},
    ])
}

#[tokio::test]
async fn an_item_scores_as_the_attribute_of_a_judge_and_weighs_in_the_sum() {
    let (judge, plain) = (Server::start("lm-head-tiny", Some(JUDGE)), Server::start("lm-head-tiny", None));
    for layout in ["append", "quote"] {
        let messages = conversation("It keeps keys.");
        let body = json!({"conversations": [messages], "rubric": judges_items(), "layout": layout});
        let rubric = plain.rewards(&body).await;
        let scores = &rubric["data"][0]["scores"];
        let sum = 2.0 * number(&scores["quality"]) - 0.5 * number(&scores["letter"]);
        assert!((number(&scores["weighted"]) - sum).abs() < 1e-6, "{rubric}");
        assert_eq!(rubric["ranked_by"], "weighted");
        assert!(number(&rubric["data"][0]["answer_mass"]["quality"]) > 0.0, "{rubric}");
        if layout == "append" {
            let judged = judge.rewards(&json!({"conversations": [messages]})).await;
            for attribute in ["quality", "letter"] {
                assert_eq!(scores[attribute], judged["data"][0]["scores"][attribute], "{rubric} {judged}");
            }
        }
        // One item alone has the same bits.
        let one = json!({"conversations": [messages], "rubric": [judges_items()[1]], "layout": layout});
        let alone = plain.rewards(&one).await;
        assert_eq!(alone["data"][0]["scores"]["letter"], scores["letter"]);
        // A judge takes rubrics, too.
        assert_eq!(judge.rewards(&body).await["data"][0]["scores"], *scores);
    }
}

#[tokio::test]
async fn each_conversation_may_bring_its_own_rubric() {
    let server = Server::start("lm-head-tiny", None);
    let (first, second) = (conversation("First."), conversation("Second."));
    let body = json!({
        "conversations": [
            {"messages": first, "rubric": [item("short", "Is it short?")]},
            second,
            {"messages": second, "rubric": []},
        ],
        "rubric": [item("polite", "Is it polite?")],
    });
    let (status, answer) = server.post("/v1/rewards", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let names = |index: usize| {
        let scores = answer["data"][index]["scores"].as_object().unwrap();
        scores.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["short", "weighted"]);
    assert_eq!(names(1), ["polite", "weighted"]);
    let error = &answer["data"][2]["error"];
    assert_eq!(error["param"], "conversations[2].rubric", "{answer}");
    assert!(error["message"].as_str().unwrap().contains("has 0 items; send 1 to 64"), "{answer}");
}

#[tokio::test]
async fn the_layout_of_a_request_holds_for_the_rubrics_of_its_conversations() {
    let server = Server::start("lm-head-tiny", None);
    let messages = conversation("It keeps keys.");
    let rubric = json!([item("short", "Is it short?")]);
    let own = json!({"conversations": [{"messages": messages, "rubric": rubric}], "layout": "quote",
        "rank_by": "short"});
    let shared = json!({"conversations": [messages], "rubric": rubric, "layout": "quote"});
    let appended = json!({"conversations": [messages], "rubric": rubric});
    let (own, shared, appended) =
        (server.rewards(&own).await, server.rewards(&shared).await, server.rewards(&appended).await);
    assert_eq!(own["data"][0]["scores"], shared["data"][0]["scores"]);
    assert_ne!(own["data"][0]["scores"], appended["data"][0]["scores"]);
    assert_eq!(own["ranked_by"], "short");
}

#[tokio::test]
async fn responses_are_ranked_by_the_sum_and_share_prompt_and_response() {
    let server = Server::start("lm-head-tiny", None);
    let items: Vec<Value> = (0..5).map(|number| item(&format!("i{number}"), "Is it so, yes?")).collect();
    let responses: Vec<String> =
        (0..16).map(|number| format!("Response {number} ") + &"long ".repeat(40)).collect();
    let prompt = json!([{"role": "user", "content": "What is a KV cache? ".repeat(12)}]);
    let answer = server.rewards(&json!({"messages": prompt, "responses": responses, "rubric": items})).await;
    let count = async |messages: Value| {
        let body = json!({"messages": messages, "add_generation_prompt": false});
        server.post("/tokenize", &body).await.1["count"].as_u64().unwrap()
    };
    let prompt_tokens = count(prompt.clone()).await;
    let response = json!({"role": "assistant", "content": responses[15]});
    let whole = count(json!([prompt[0], response])).await;
    let question = answer["data"][15]["usage"]["prompt_tokens"].as_u64().unwrap() / 5 - whole;
    let usage = &answer["usage"];
    let computed = usage["prompt_tokens"].as_u64().unwrap() - usage["cached_tokens"].as_u64().unwrap();
    // The same question five times is one sequence; each response is computed once, and up to a block more.
    let most = prompt_tokens + 16 * (whole - prompt_tokens + 16 + question);
    assert!(computed <= most, "{computed} tokens were computed, expected at most {most}");
    let weighted: Vec<f64> =
        (0..16).map(|index| number(&answer["data"][index]["scores"]["weighted"])).collect();
    for (index, score) in weighted.iter().enumerate() {
        let better = weighted.iter().filter(|other| *other > score).count() as u64;
        assert_eq!(answer["data"][index]["rank"], better + 1);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_rubric_is_said_with_its_field() {
    let server = Server::start("lm-head-tiny", None);
    let many: Vec<Value> = (0..65).map(|number| item(&format!("i{number}"), "Is it?")).collect();
    for (rubric, param, reason) in [
        (json!([]), "rubric", "has 0 items; send 1 to 64"),
        (json!(many), "rubric", "has 65 items"),
        (json!([item("a", "Is it?"), item("a", "Is it?")]), "rubric", "two labels are called a"),
        (json!([item("a:b", "Is it?")]), "rubric", "has no comma"),
        (json!([item("weighted", "Is it?")]), "rubric", "two labels are called weighted"),
        (json!([item(&"a".repeat(257), "Is it?")]), "rubric", "has 257 bytes"),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1, "b": 0}, "weight": 1e308}]),
            "rubric",
            "give a number from -1e9 to 1e9",
        ),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1e39, "b": 0}}]),
            "rubric[0].answers",
            "must be worth a number from",
        ),
        (json!([item("a", " ")]), "rubric[0].ask", "`ask` is empty"),
        (json!([{"name": "a"}]), "rubric[0].ask", "is missing"),
        (json!([{"name": "a", "ask": "Is it?"}]), "rubric[0].answers", "\"Yes\" is not one token"),
        (
            json!([{"name": "a", "ask": "Is it?", "answers": {"a": 1, "b": "x"}}]),
            "rubric[0].answers.b",
            "what the answer is worth",
        ),
        (json!([{"name": "a", "ask": "Is it?", "think": 5}]), "rubric[0].think", "leave it out"),
        (
            json!([{"name": "a", "ask": "?", "score": "best"}]),
            "rubric[0].score",
            "must be one of expectation",
        ),
    ] {
        let body = json!({"conversations": [conversation("Yes.")], "rubric": rubric});
        let (message, field) = server.refusal(&body).await;
        assert!(field == param && message.contains(reason), "{rubric}: {field}: {message}");
    }
    for (field, value, reason) in [
        ("compare", json!(true), "not compared in pairs"),
        ("think", json!(512), "without thinking"),
        ("layout", json!("quote"), "there is none"),
        ("principle", json!("correctness"), "was trained with principles"),
        ("rank_by", json!("b"), "use one of a, weighted"),
    ] {
        let mut body = json!({"conversations": [conversation("Yes.")]});
        if field == "rank_by" {
            body["rubric"] = json!([item("a", "Is it?")]);
        }
        body[field] = value;
        let (message, param) = server.refusal(&body).await;
        assert!(param == field && message.contains(reason), "{field}: {param}: {message}");
    }
}

#[tokio::test]
async fn a_rubric_needs_the_whole_vocabulary() {
    let server = Server::on(super::files::built_with_judge("lm-head-tiny", JUDGE).unwrap(), None).unwrap();
    let body = json!({"conversations": [conversation("Yes.")], "rubric": [item("a", "Is it?")]});
    let (message, param) = server.refusal(&body).await;
    assert_eq!(param, "rubric");
    assert!(message.contains("only the logits of its own scores"), "{message}");
}
