//! Rubrics in requests to a model that generates text, and what is refused before anything is queued.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation};

pub(super) fn item(name: &str, ask: &str) -> Value {
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
async fn an_error_in_a_rubric_names_the_field() {
    let server = Server::start("lm-head-tiny", None);
    let many: Vec<Value> = (0..65).map(|number| item(&format!("i{number}"), "Is it?")).collect();
    for (rubric, param, reason) in [
        (json!([]), "rubric", "has 0 items; send 1 to 64"),
        (json!(many), "rubric", "has 65 items"),
        (
            json!([item("a", "Is it?"), item("A", "Is it?")]),
            "rubric[1].name",
            "is the name of another score: names must differ by more than case",
        ),
        (json!([item("margin", "Is it?")]), "rubric[0].name", "a column that `assay score` adds"),
        (json!([item("a:b", "Is it?")]), "rubric[0].name", "has no comma"),
        (
            json!([item("weighted", "Is it?")]),
            "rubric[0].name",
            "is `weighted`, the name of the weighted sum",
        ),
        (json!([item(&"a".repeat(257), "Is it?")]), "rubric[0].name", "has 257 bytes"),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1, "b": 0}, "weight": 1e308}]),
            "rubric[0].weight",
            "` is 1e308: give a number from -1e9 to 1e9",
        ),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1, "b": 0}, "weight": "2"}]),
            "rubric[0].weight",
            "must be a number, not a string",
        ),
        (json!([item("", "Is it?")]), "rubric[0].name", "is empty; give the score a name"),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1}}]),
            "rubric[0].answers",
            "has 1 answer; give 2 to 64",
        ),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": "1", "b": 0}}]),
            "rubric[0].answers.a",
            "not a string",
        ),
        (
            json!([{"name": "a", "ask": "?", "answers": {"<|eot_id|>": 1, "b": 0}}]),
            "rubric[0].answers",
            "has the answer \"<|eot_id|>\", a control token",
        ),
        (
            json!([{"name": "a", "ask": "?", "answers": {"a": 1e39, "b": 0}}]),
            "rubric[0].answers",
            "`rubric[0].answers` gives \"a\" a worth that is not a number from",
        ),
        (json!([item("a", " ")]), "rubric[0].ask", "`rubric[0].ask` is empty"),
        (json!([item("a", &"Is it? ".repeat(2000))]), "rubric[0].ask", "before any conversation is added"),
        (json!("short?"), "rubric", "must be a list of items, not a string"),
        (json!([{"name": "a"}]), "rubric[0].ask", "is missing"),
        (
            json!([{"name": "a", "ask": "Is it?"}]),
            "rubric[0].answers",
            "must be given for this model: without it the answers are Yes and No, and \"Yes\" is not one token",
        ),
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
        ("think", json!(512), "nothing is generated before that"),
        ("layout", json!("quote"), "it says how the items of a `rubric` are asked, and there is none"),
        ("principle", json!("correctness"), "the model served here answers questions"),
        ("rank_by", json!("b"), "use one of a, weighted"),
        ("continue_final_message", json!(true), "asked about the conversation after its end"),
    ] {
        let mut body = json!({"conversations": [conversation("Yes.")]});
        if !["layout", "principle"].contains(&field) {
            body["rubric"] = json!([item("a", "Is it?")]);
        }
        body[field] = value;
        let (message, param) = server.refusal(&body).await;
        assert!(param == field && message.contains(reason), "{field}: {param}: {message}");
    }
}

#[tokio::test]
async fn what_one_conversation_lacks_or_has_too_much_is_named() {
    let server = Server::start("lm-head-tiny", None);
    let messages = conversation("Yes.");
    let rubric = json!([item("a", "Is it?")]);
    let asked = json!({"messages": messages, "rubric": rubric});
    for (second, whole, param, reason) in [
        (
            messages.clone(),
            json!(null),
            "conversations[1].rubric",
            "generates text and has no scores; send {",
        ),
        (json!({"messages": messages}), json!(null), "conversations[1].rubric", "is missing"),
        (
            json!({"messages": messages, "principle": "truth"}),
            rubric.clone(),
            "conversations[1].principle",
            "the model served here answers questions",
        ),
        (
            json!({"messages": messages, "rubric": rubric, "principle": "truth"}),
            json!(null),
            "conversations[1].principle",
            "ask for what you value in a `rubric`",
        ),
        (
            json!({"messages": messages, "layout": "quote"}),
            rubric.clone(),
            "conversations[1].layout",
            "send it beside the `rubric` of the whole call",
        ),
        (
            json!({"messages": messages, "rubric": rubric, "weight": 2}),
            json!(null),
            "conversations[1].weight",
            "may have a `rubric` with a `layout`",
        ),
    ] {
        let answer = server.rewards(&json!({"conversations": [asked, second], "rubric": whole})).await;
        assert!(answer["data"][0]["scores"]["a"].is_number(), "{answer}");
        let error = &answer["data"][1]["error"];
        assert_eq!(error["param"], param, "{answer}");
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_long_with_a_question_is_named_and_not_to_be_cut() {
    let server = Server::start("lm-head-tiny", None);
    let long = |count: u64| "Is it? ".repeat(count as usize);
    let hundred = json!({"messages": [{"role": "user", "content": long(100)}]});
    let tokens = server.post("/tokenize", &hundred).await.1["count"].as_u64().unwrap();
    let of_tokens = |count: u64| long(count * 100 / tokens);
    // Each fits in 1024 tokens alone.
    for (ask, response, param) in [(600, 500, "rubric[0].ask"), (500, 600, "responses[0]")] {
        let (ask, response) = (of_tokens(ask), of_tokens(response));
        let messages = json!([{"role": "user", "content": "Why?"}]);
        let body = json!({"messages": messages, "responses": [response], "rubric": [item("a", &ask)]});
        let error = server.rewards(&body).await["data"][0]["error"].clone();
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(param), &json!("context_length_exceeded")),
            "{error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("this model's maximum context length is"), "{message}");
        assert!(!message.contains("truncation"), "{message}");
    }
}

#[tokio::test]
async fn fields_of_a_rubric_that_change_nothing_are_accepted() {
    let server = Server::start("lm-head-tiny", None);
    let body = json!({"conversations": [conversation("Yes.")], "rubric": [item("a", "Is it?")]});
    let plain = server.rewards(&body).await;
    for (field, value) in [
        ("compare", json!(false)),
        ("think", json!(false)),
        ("think", json!(0)),
        ("think", json!(null)),
        // Every prompt ends where the answer to its question starts, as any other prompt ends where it must.
        ("add_generation_prompt", json!(false)),
        ("add_generation_prompt", json!(true)),
    ] {
        let mut body = body.clone();
        body[field] = value.clone();
        let scores = &server.rewards(&body).await["data"][0]["scores"];
        assert_eq!(*scores, plain["data"][0]["scores"], "{field}: {value}");
    }
}

#[tokio::test]
async fn a_repeated_key_is_refused() {
    let server = Server::start("lm-head-tiny", None);
    let messages = conversation("Yes.");
    for (body, path) in [
        (
            format!(
                r#"{{"conversations": [{messages}],
                     "rubric": [{{"name": "a", "ask": "?", "answers": {{"a": 1, "b": 0, "a": 0.5}}}}]}}"#
            ),
            "rubric[0].answers.a",
        ),
        (
            format!(
                r#"{{"conversations": [{{"messages": {messages}, "rubric": [{{"name": "a", "ask": "?",
                     "ask": "Is it?", "answers": {{"a": 1, "b": 0}}}}]}}]}}"#
            ),
            "conversations[0].rubric[0].ask",
        ),
    ] {
        let (status, answer) = server.post_text("/v1/rewards", body).await;
        assert_eq!(
            (status, answer["error"]["param"].as_str()),
            (StatusCode::BAD_REQUEST, Some(path)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_engine_that_cannot_be_asked_refuses_the_whole_call() {
    let server = Server::on(super::files::built_with_judge("lm-head-tiny", JUDGE).unwrap(), None).unwrap();
    let (rubric, messages) = (json!([item("a", "Is it?")]), conversation("Yes."));
    for (body, path) in [
        (json!({"conversations": [messages], "rubric": rubric}), "rubric"),
        (
            json!({"conversations": [messages, {"messages": messages, "rubric": rubric}]}),
            "conversations[1].rubric",
        ),
    ] {
        let (message, param) = server.refusal(&body).await;
        assert_eq!(param, path);
        assert!(message.contains("only the logits of its own scores"), "{message}");
    }
    // Without a rubric, a language model has nothing to score by.
    let server = Server::start("lm-head-tiny", None);
    for body in [
        json!({"conversations": [messages, {"messages": messages}]}),
        json!({"messages": [messages[0]], "responses": ["a", "b"]}),
    ] {
        let (message, _) = server.refusal(&body).await;
        assert!(message.contains("send POST /v1/rewards a `rubric`"), "{message}");
    }
}
