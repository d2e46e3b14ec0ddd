//! Responses that are compared in pairs.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation};

fn compared(responses: &[&str]) -> Value {
    let prompt = json!([{"role": "user", "content": "What is a KV cache? ".repeat(8)}]);
    json!({"messages": prompt, "responses": responses, "compare": true})
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[tokio::test]
async fn responses_are_ranked_by_all_pairs_whatever_their_order() {
    let server = Server::start("lm-head-tiny", None);
    let responses =
        ["It keeps keys.", "No idea at all, sorry.", "A store of keys and values of earlier tokens."];
    let answer = server.rewards(&compared(&responses)).await;
    assert_eq!(answer["ranked_by"], "bradley_terry");
    let pairs = answer["comparison"]["pairs"].as_array().unwrap();
    assert_eq!(
        pairs.iter().map(|pair| pair["responses"].clone()).collect::<Value>(),
        json!([[0, 1], [0, 2], [1, 2]])
    );
    let strength = |index: usize| number(&answer["data"][index]["scores"]["bradley_terry"]);
    assert!((0..3).map(strength).sum::<f64>().abs() < 1e-5, "{answer}");
    let mut bias = 0.0;
    for pair in pairs {
        let [first, second] = ["named_first", "named_second"].map(|name| number(&pair[name]));
        assert!((number(&pair["preference"]) - (first + second) / 2.0).abs() < 1e-12, "{pair}");
        assert!((0.0..=1.0).contains(&first) && (0.0..=1.0).contains(&second), "{pair}");
        assert!((0.0..=1.0).contains(&number(&pair["answer_mass"])), "{pair}");
        bias += (first - second) / 2.0 / 3.0;
    }
    assert!((number(&answer["comparison"]["position_bias"]) - bias).abs() < 1e-12, "{answer}");
    for index in 0..3 {
        let better = (0..3).filter(|&other| strength(other) > strength(index)).count();
        assert_eq!(answer["data"][index]["rank"], better + 1, "{answer}");
    }

    // A pair has the same bits alone, and turned round.
    let turned = server.rewards(&compared(&[responses[2], responses[0]])).await;
    let [alone, among] = [&turned["comparison"]["pairs"][0], &pairs[1]];
    assert_eq!(number(&among["named_second"]), 1.0 - number(&alone["named_first"]));
    assert_eq!(1.0 - number(&among["named_first"]), number(&alone["named_second"]));
    let odds = number(&alone["preference"]) / (1.0 - number(&alone["preference"]));
    let difference = number(&turned["data"][0]["scores"]["bradley_terry"]) * 2.0;
    assert!((difference - odds.ln()).abs() < 1e-5, "{turned}");
}

#[tokio::test]
async fn a_comparison_is_the_probability_of_a_against_b_after_its_prompt() {
    let server = Server::start("lm-head-tiny", None);
    let body = compared(&["It keeps keys.", "No idea."]);
    let text = format!(
        "<conversation>\n<user>\n{}\n</user>\n</conversation>\n\n<response A>\nIt keeps keys.\n</response A>\n\n\
         <response B>\nNo idea.\n</response B>\n\nWhich response to the conversation is better? Answer A or B.",
        body["messages"][0]["content"].as_str().unwrap()
    );
    let ids = async |body: Value| {
        let (status, answer) = server.post("/tokenize", &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["tokens"].clone()
    };
    let turns = json!([{"role": "user", "content": text}]);
    let prompt = ids(json!({"messages": turns, "add_generation_prompt": true})).await;
    let letter =
        async |letter: &str| ids(json!({"prompt": letter, "add_special_tokens": false})).await[0].clone();
    let labels = json!([letter("A").await, letter("B").await]);
    let asked = json!({"items": [prompt], "label_token_ids": labels, "apply_softmax": true});
    let (status, scored) = server.post("/v1/score", &asked).await;
    assert_eq!(status, StatusCode::OK, "{scored}");
    let pair = &server.rewards(&body).await["comparison"]["pairs"][0];
    assert!((number(&scored["scores"][0][0]) - number(&pair["named_first"])).abs() < 1e-6, "{scored} {pair}");
}

#[tokio::test]
async fn sixteen_responses_share_their_prompt_and_what_is_named_first() {
    let server = Server::start("lm-head-tiny", None);
    let responses: Vec<String> =
        (0..16).map(|index| format!("Response {index} ") + &"long ".repeat(20)).collect();
    let responses: Vec<&str> = responses.iter().map(String::as_str).collect();
    let answer = server.rewards(&compared(&responses)).await;
    assert_eq!(answer["comparison"]["pairs"].as_array().unwrap().len(), 120);
    let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap();
    let usage = &answer["usage"];
    let own: u64 = (0..16).map(|index| count(&answer["data"][index]["usage"], "prompt_tokens")).sum();
    assert_eq!(own, count(usage, "prompt_tokens"));
    let computed = own - count(usage, "cached_tokens");
    // Each of the 240 prompts computes the response that it names second and the question.
    assert!(computed * 2 < own, "{computed} of {own} tokens were computed");
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_with_its_field() {
    let (plain, judge) = (Server::start("lm-head-tiny", None), Server::start("lm-head-tiny", Some(JUDGE)));
    judge.rewards(&compared(&["a", "b"])).await;
    let many: Vec<String> = (0..17).map(|index| index.to_string()).collect();
    for (field, value, param, reason) in [
        ("responses", json!(["a"]), "responses", "has 1 item; `compare` takes 2 to 16"),
        ("responses", json!(many), "responses", "has 17 items; `compare`"),
        ("rubric", json!([]), "rubric", "does not go with `compare`"),
        ("layout", json!("quote"), "layout", "does not go with `compare`"),
        ("rank_by", json!("a"), "rank_by", "does not go with `compare`"),
        ("principle", json!("truth"), "principle", "does not go with `compare`"),
        ("texts", json!(["a"]), "texts", "does not go with `compare`"),
        ("conversations", json!([conversation("a")]), "conversations", "does not go with `compare`"),
        ("continue_final_message", json!(true), "continue_final_message", "asked about"),
        ("compare", json!("pairs"), "compare", "must be true or false"),
        ("responses", json!(["a", "long ".repeat(2000)]), "responses[1]", "maximum context length"),
    ] {
        let mut body = compared(&["a", "b"]);
        body[field] = value;
        for server in [&plain, &judge] {
            let (message, found) = server.refusal(&body).await;
            assert!(found == param && message.contains(reason), "{field}: {found}: {message}");
        }
    }
    let few = Server::on(super::files::built_with_judge("lm-head-tiny", JUDGE).unwrap(), None).unwrap();
    let (message, param) = few.refusal(&compared(&["a", "b"])).await;
    assert!(param == "compare" && message.contains("only the logits of its own scores"), "{message}");
    let entry = json!({"messages": conversation("a"), "compare": true});
    let answer = judge.rewards(&json!({"conversations": [entry]})).await;
    assert_eq!(answer["data"][0]["error"]["param"], "conversations[0].compare", "{answer}");

    let limit = |settings: &mut assay::config::Settings| settings.server.max_request_items = 5;
    let engine = crate::generation::language::Built::new("lm-head-tiny", assay::manifest::Dtype::F32);
    let server = Server::with(engine, None, limit).unwrap();
    let (message, param) = server.refusal(&compared(&["a", "b", "c"])).await;
    assert!(
        param == "responses" && message.contains("comes to 6 comparisons, each pair in both orders"),
        "{message}"
    );
}
