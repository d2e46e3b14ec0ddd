//! Rubrics among many candidates, and on other routes.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::rubric::item;
use super::server::{JUDGE, Server, conversation};

#[tokio::test]
async fn conversations_are_ranked_if_they_share_their_rubric_and_else_the_answer_says_why_not() {
    let server = Server::start("lm-head-tiny", None);
    let [first, second] = [conversation("First."), conversation("Second, and longer.")];
    let own = |messages: &Value, rubric: &Value| json!({"messages": messages, "rubric": rubric});
    let (short, polite) = (json!([item("short", "Is it short?")]), json!([item("polite", "Is it polite?")]));
    let alike = json!({"conversations": [own(&first, &short), own(&second, &short)], "rank_by": "short"});
    let answer = server.rewards(&alike).await;
    assert_eq!(answer["ranked_by"], "short");
    let ranks = [answer["data"][0]["rank"].as_u64(), answer["data"][1]["rank"].as_u64()];
    assert!(ranks == [Some(1), Some(2)] || ranks == [Some(2), Some(1)], "{answer}");
    assert_eq!(answer["score_options"]["weights"]["short"], 1.0, "{answer}");

    for others in [own(&second, &polite), second.clone()] {
        let mut body = json!({"conversations": [own(&first, &short), others], "rubric": polite});
        let answer = server.rewards(&body).await;
        assert_eq!(answer["ranked_by"], Value::Null, "{answer}");
        assert!(answer["data"][0].get("rank").is_none() && answer["data"][1].get("rank").is_none());
        assert!(answer["unranked"].as_str().unwrap().contains("different rubrics"), "{answer}");
        for name in ["short", "weighted"] {
            body["rank_by"] = json!(name);
            let (message, param) = server.refusal(&body).await;
            assert_eq!(param, "rank_by");
            assert!(message.contains("another rubric scores `conversations[1]`"), "{message}");
        }
    }
}

#[tokio::test]
async fn the_items_of_a_rubric_count_against_the_largest_list() {
    let limit = |settings: &mut assay::config::Settings| settings.server.max_request_items = 6;
    let engine = crate::generation::language::Built::new("lm-head-tiny", assay::manifest::Dtype::F32);
    let server = Server::with(engine, None, limit).unwrap();
    let items =
        |count: usize| (0..count).map(|index| item(&format!("i{index}"), "Is it?")).collect::<Value>();
    let prompt = json!([{"role": "user", "content": "Why?"}]);
    let responses = |count: usize, rubric: usize| json!({"messages": prompt, "responses": vec!["a"; count], "rubric": items(rubric)});
    server.rewards(&responses(2, 3)).await;
    let own = |count: usize| json!({"messages": conversation("Yes."), "rubric": items(count)});
    server.rewards(&json!({"conversations": [own(5), own(1)]})).await;
    for (body, param, count) in [
        (responses(3, 3), "rubric", 9),
        (responses(1, 7), "rubric", 7),
        (json!({"conversations": [own(5), own(2)]}), "conversations", 7),
        (json!({"conversations": vec![conversation("Yes."); 4], "rubric": items(2)}), "conversations", 8),
    ] {
        let (message, field) = server.refusal(&body).await;
        let expected = format!("comes to {count} questions, one for each candidate and item of its rubric");
        assert!(field == param && message.contains(&expected), "{field}: {message}");
    }
}

#[tokio::test]
async fn other_routes_say_where_rubrics_are_taken() {
    let judge = Server::start("lm-head-tiny", Some(JUDGE));
    let plain = Server::start("lm-head-tiny", None);
    for field in ["rubric", "principle", "compare"] {
        let mut body = json!({"messages": conversation("Yes.")});
        body[field] = json!("short");
        for server in [&judge, &plain] {
            let (status, answer) = server.post("/v1/chat/completions", &body).await;
            assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!(field)));
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("POST /v1/rewards takes it"), "{message}");
        }
    }
}

#[tokio::test]
async fn labels_are_refused_by_a_judge_in_one_sentence_whatever_the_route() {
    let judge = Server::start("lm-head-tiny", Some(JUDGE));
    let body = json!({"query": "a", "items": ["b"], "label_token_ids": [2, 3]});
    let mut errors = Vec::new();
    for path in ["/v1/score", "/score", "/generative_scoring"] {
        let (status, answer) = judge.post(path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        errors.push(answer["error"].clone());
    }
    assert!(errors[0]["message"].as_str().unwrap().contains("scores of its own, and none of tokens"));
    assert_eq!((&errors[0], &errors[1]), (&errors[1], &errors[2]));
}
