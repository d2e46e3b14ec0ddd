//! What clients of trainers and of other servers send and read besides rankings, long lists among it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::compat::{PROMPT, RESPONSE, ok, refused, scores, templated};
use super::engines::instant;
use super::server::{ATTRIBUTES, MODEL, Server, paris};

#[tokio::test]
async fn a_list_longer_than_the_queue_is_fed_to_it_as_it_has_room() {
    let small = |settings: &mut assay::config::Settings| settings.scheduling.max_queue_requests = 3;
    let server = Server::with(small, instant());
    let text = templated(&server);
    let first = scores(&server).await[0].clone();
    let texts: Vec<String> = (0..3000).map(|index| text.replace(RESPONSE, &format!("{index}"))).collect();
    let rewards = ok(&server, "/get_reward", json!({"query": texts})).await;
    assert_eq!(rewards["rewards"].as_array().unwrap().len(), 3000);
    let mut mixed = texts[..1500].to_vec();
    mixed.push(text.clone());
    let classified = ok(&server, "/classify", json!({"input": mixed})).await;
    assert_eq!(classified["data"][1500]["probs"][0], first);
    assert_eq!(classified["data"][7]["probs"][0], rewards["rewards"][7]);
    let responses: Vec<String> = (0..1500).map(|index| index.to_string()).collect();
    let request = json!({"messages": [paris()["messages"][0]], "responses": responses});
    let ranked = ok(&server, "/v1/rewards", request).await;
    let scored = ranked["data"].as_array().unwrap().iter().filter(|item| item["scores"].is_object()).count();
    assert_eq!(scored, 1500);
    assert_eq!(ranked["data"][7]["scores"]["helpfulness"], rewards["rewards"][7]);
}

#[tokio::test]
async fn a_rank_without_samples_gets_empty_lists() {
    let server = Server::start();
    let answer = ok(&server, "/get_reward", json!({"query": [], "prompts": [], "labels": []})).await;
    assert_eq!(answer, json!({"rewards": [], "scores": [], "extra_logs": {}}));
    let answer = ok(&server, "/v1/score/evaluation", json!({"model": "model", "messages": []})).await;
    assert_eq!(answer["scores"], json!([]));
}

#[tokio::test]
async fn one_bad_text_among_many_is_named_before_any_is_computed() {
    let server = Server::start();
    let text = templated(&server);
    let mut texts = vec![text.clone(); 512];
    texts[300] = text.replace(RESPONSE, &"more ".repeat(300));
    let message = refused(&server, "/get_reward", json!({"query": texts})).await;
    assert!(message.starts_with("`query[300]`"), "{message}");
    let responses: Vec<String> =
        (0..512).map(|index| if index == 300 { "more ".repeat(300) } else { "a".into() }).collect();
    let request = json!({"messages": [paris()["messages"][0]], "responses": responses});
    let answer = ok(&server, "/v1/rewards", request).await;
    for (index, item) in answer["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(item["scores"].is_object(), index != 300, "{index}");
    }
}

#[tokio::test]
async fn llama_factory_reads_scores_of_templated_texts() {
    let server = Server::start();
    let (text, first) = (templated(&server), scores(&server).await[0].clone());
    let answer =
        ok(&server, "/v1/score/evaluation", json!({"model": "model", "messages": [text, text]})).await;
    assert_eq!(answer["scores"], json!([first, first]));
    let message = refused(&server, "/v1/score/evaluation", json!({"messages": [text, 7]})).await;
    assert!(message.starts_with("`messages[1]` must be a string"), "{message}");
}

fn rollout(input: Value, output: Value) -> Value {
    json!({"responses_create_params": {"input": input}, "response": {"id": "r", "output": output}, "label": 42})
}

fn said(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

#[tokio::test]
async fn a_rollout_of_nemo_gym_comes_back_with_its_reward() {
    let server =
        Server::with(|settings| settings.server.alias = vec!["one=helpfulness".parse().unwrap()], instant());
    let scores = scores(&server).await;
    let output = json!([{"type": "reasoning", "summary": []}, said(RESPONSE)]);
    for input in
        [json!(PROMPT), json!([{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}])]
    {
        let mut request = rollout(input, output.clone());
        // Fields that the server reads are those of a row of the data set too.
        for (name, value) in [("model", json!(MODEL)), ("timeout", json!(60)), ("truncation", json!("left"))]
        {
            request[name] = value;
        }
        let answer = ok(&server, "/verify", request.clone()).await;
        assert_eq!(answer["reward"], scores[0]);
        let components: Vec<&Value> =
            ATTRIBUTES.iter().map(|name| &answer["reward_components"][*name]).collect();
        assert_eq!(components, scores.iter().collect::<Vec<_>>());
        for (name, value) in request.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{name}");
        }
    }
    let mut one = rollout(json!(PROMPT), output);
    one["model"] = json!("one");
    let answer = ok(&server, "/verify", one).await;
    assert_eq!((&answer["reward"], answer.get("reward_components")), (&scores[0], None));
    assert_eq!(ok(&server, "/seed_session", json!({})).await, json!({}));
    for (request, words) in [
        (json!({"response": {"output": []}}), "`responses_create_params` is missing"),
        (rollout(json!(PROMPT), json!([])), "`response.output` has no message"),
        (rollout(json!(PROMPT), json!([{"type": "function_call"}])), "`response.output[0].type`"),
        (
            rollout(json!([{"role": "user"}]), json!([said("a")])),
            "`responses_create_params.input[0].content`",
        ),
    ] {
        let message = refused(&server, "/verify", request.clone()).await;
        assert!(message.starts_with(words), "{request}: {message}");
    }
}

#[tokio::test]
async fn rollouts_of_nemo_gym_are_summarised_as_its_base_class_does() {
    let server = Server::start();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gym_metrics.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    for case in golden.as_array().unwrap() {
        let request = json!({"verify_responses": case["verify_responses"]});
        assert_eq!(ok(&server, "/aggregate_metrics", request).await, case["metrics"]);
    }
    assert_eq!(server.get("/reverify_mode").await.json(), "stateless");
    for (responses, words) in [
        (json!([{"reward": 1}, 7]), "`verify_responses[1]` must be an object"),
        (json!([{"_ng_task_index": 0.5}]), "`verify_responses[0]._ng_task_index` must be a whole number"),
        (json!([{"response": []}]), "`verify_responses[0].response` must be an object"),
    ] {
        let message = refused(&server, "/aggregate_metrics", json!({"verify_responses": responses})).await;
        assert!(message.starts_with(words), "{message}");
    }
}

#[tokio::test]
async fn context_logits_have_a_row_for_each_token_of_the_prompt() {
    let server = Server::start();
    let (text, scores) = (templated(&server), scores(&server).await);
    let request = json!({"model": MODEL, "prompt": text, "max_tokens": 1, "temperature": 0,
                         "return_context_logits": true});
    let answer = ok(&server, "/v1/completions", request).await;
    let rows = answer["choices"][0]["context_logits"].as_array().unwrap();
    assert_eq!(rows.len() as u64, answer["usage"]["prompt_tokens"].as_u64().unwrap());
    assert_eq!(rows.last().unwrap(), &json!(scores));
    let message = refused(&server, "/v1/completions", json!({"model": MODEL, "prompt": text})).await;
    assert!(message.contains("send return_context_logits"), "{message}");
}

#[tokio::test]
async fn clients_of_hugging_face_read_a_list_in_a_list() {
    let server =
        Server::with(|settings| settings.server.alias = vec!["one=verbosity".parse().unwrap()], instant());
    let text = templated(&server);
    for path in ["/", "/predict"] {
        let options = json!({"wait_for_model": true, "use_cache": false});
        let flat = ok(&server, path, json!({"inputs": text, "options": options})).await;
        assert_eq!(flat.as_array().unwrap().len(), 5, "{path}");
        let nested = ok(&server, path, json!({"inputs": text, "parameters": {}})).await;
        assert_eq!(nested[0].as_array().unwrap().len(), 5, "{path}");
        let parameters = json!({"function_to_apply": "softmax", "top_k": 2});
        let shares = ok(&server, path, json!({"inputs": text, "parameters": parameters})).await;
        assert_eq!(shares[0].as_array().unwrap().len(), 2);
        let flat = ok(&server, path, json!({"inputs": text})).await;
        assert_eq!(flat[0]["label"], nested[0][0]["label"]);
    }
    for (parameters, words) in [
        (json!({"function_to_apply": "sigmoid"}), "`parameters.function_to_apply` is not supported"),
        (json!({"function_to_apply": "tanh"}), "`parameters.function_to_apply` must be one of"),
        (json!({"topk": 2}), "`parameters.topk` is not supported: did you mean `top_k`?"),
        (json!({"top_k": -1}), "`parameters.top_k` must be a number of results"),
    ] {
        let message = refused(&server, "/", json!({"inputs": text, "parameters": parameters})).await;
        assert!(message.starts_with(words), "{message}");
    }
    let info = server.get("/info").await.json();
    assert_eq!((&info["model_id"], &info["max_input_length"]), (&json!(MODEL), &json!(256)));
    assert_eq!(info["model_type"]["classifier"]["id2label"]["0"], "helpfulness");
    assert_eq!(server.get("/").await.status, StatusCode::OK, "the page to try the model");
}

#[tokio::test]
async fn the_password_of_basic_authentication_opens_the_server() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "sk-0123456789abcdef trainer").unwrap();
    let with_keys = |settings: &mut assay::config::Settings| {
        settings.security.api_keys_file = Some(keys.path().to_owned());
    };
    let server = Server::with(with_keys, instant());
    let send = async |authorization: &str| {
        let request = Request::post("/get_reward").header("Authorization", authorization);
        server.send(request.body(Body::from(r#"{"query": ["a"]}"#)).unwrap()).await.status
    };
    // `trainer:sk-0123456789abcdef` and `trainer:sk-wrong`, in base 64.
    assert_eq!(send("Basic dHJhaW5lcjpzay0wMTIzNDU2Nzg5YWJjZGVm").await, StatusCode::OK);
    assert_eq!(send("Basic dHJhaW5lcjpzay13cm9uZw==").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_wrong_path_or_method_is_answered_with_the_right_one() {
    let server = Server::start();
    for (path, meant) in [
        ("/v1/v1/chat/completions", "/v1/chat/completions?"),
        ("/v1/clasify", "/v1/classify?"),
        ("/v1/rewrads", "/v1/rewards?"),
        ("/v1/rewrad", "/v1/reward?"),
        ("/api/get_reward", "/get_reward?"),
        ("/generate", "/v1/completions?"),
        ("/api/generate", "/v1/completions?"),
        ("/slime", "/slime/reward?"),
        ("/model", "/v1/models?"),
        ("/v1/moderations", "/classify?"),
        ("/similarity", "/rerank?"),
        ("/embed_all", "/v1/embeddings?"),
    ] {
        let answer = server.ask(path, json!({})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.contains(&format!("did you mean {meant}")), "{path}: {}", answer.text);
    }
    assert!(server.get("/rerank").await.text.contains("/rerank does not answer GET; send POST"));
    assert!(server.ask("/info", json!({})).await.text.contains("/info does not answer POST; send GET"));
}
