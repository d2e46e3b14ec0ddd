//! What clients of SGLang send and read: its native classification, scores of items, and its service routes.

use assay::prompt::EncodeOptions;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::compat::{conversation, encoder, ok, refused, scores, templated};
use super::engines::{failing, instant};
use super::server::{MODEL, Server, paris};
use crate::generation::language;

#[tokio::test]
async fn a_text_gets_one_object_and_a_list_of_texts_a_list() {
    let server = Server::start();
    let (text, scores) = (templated(&server), scores(&server).await);
    let bare = text.strip_prefix("<|begin_of_text|>").unwrap();
    let ids = encoder(&server).encode(&conversation(), EncodeOptions::default()).unwrap();
    for request in [json!({"text": text}), json!({"text": bare}), json!({"input_ids": ids})] {
        let one = ok(&server, "/classify", request).await;
        assert_eq!(one["embedding"], json!(scores));
        assert_eq!(one["meta_info"]["prompt_tokens"], ids.len());
        assert_eq!(one["meta_info"]["finish_reason"], json!({"type": "length", "length": 0}));
    }
    for request in [
        json!({"text": [text, bare], "model": "default"}),
        json!({"input_ids": [ids, ids], "model": ""}),
        json!({"text": [text, bare], "model": MODEL, "rid": ["a", "b"], "lora_path": null, "image_data": null}),
    ] {
        for path in ["/classify", "/v1/classify"] {
            let many = ok(&server, path, request.clone()).await;
            let rewards: Vec<&Value> =
                many.as_array().unwrap().iter().map(|one| &one["embedding"][0]).collect();
            assert_eq!(rewards, [&scores[0], &scores[0]], "{path} {request}");
        }
    }
}

#[tokio::test]
async fn each_text_keeps_its_rid() {
    let server = Server::start();
    let ids = async |request: Value| {
        let answer = ok(&server, "/classify", request).await;
        let all = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
        all.iter().map(|one| one["meta_info"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(json!({"text": "a", "rid": "x"})).await, ["x"]);
    assert_eq!(ids(json!({"text": ["a", "b"], "rid": ["x", "y"]})).await, ["x", "y"]);
    assert_eq!(ids(json!({"text": ["a", "b"], "rid": "x"})).await, ["x_0", "x_1"]);
    let made = ids(json!({"text": ["a", "b"]})).await;
    assert!(made[0] != made[1] && !made[0].is_empty());
}

#[tokio::test]
async fn a_text_has_raw_scores_unless_probabilities_are_asked_for() {
    let server = Server::start();
    let embedding = async |request: Value| ok(&server, "/classify", request).await["embedding"].clone();
    let raw = embedding(json!({"text": "a"})).await;
    assert_eq!(embedding(json!({"text": "a", "use_activation": false})).await, raw);
    let probabilities = embedding(json!({"text": "a", "use_activation": true})).await;
    let sum: f64 = probabilities.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).sum();
    assert!(probabilities != raw && (sum - 1.0).abs() < 1e-6, "{probabilities}");
}

#[tokio::test]
async fn an_error_in_a_text_names_its_field() {
    let server = Server::start();
    for (request, words) in [
        (json!({"text": []}), "`text` is empty"),
        (json!({"text": 7}), "`text` must be a text or a list of texts"),
        (json!({"text": ["a", 7]}), "`text[1]` must be a text"),
        (json!({"text": ["a", ["b"]]}), "`text[1]` must be a text"),
        (json!({"text": "a", "input_ids": [1]}), "`input_ids` cannot be combined with `text`"),
        (json!({"input_ids": []}), "`input_ids` is empty"),
        (json!({"input_ids": [[1], []]}), "`input_ids[1]` is empty"),
        (json!({"input_ids": [[1], [640]]}), "`input_ids[1][0]` is 640"),
        (json!({"text": ["a", "b"], "rid": ["x"]}), "`rid` must be"),
        (json!({"text": "a", "image_data": "x"}), "`image_data` is not supported: only text is read"),
        (json!({"text": ["a", "more ".repeat(300)]}), "`text[1]`"),
    ] {
        let message = refused(&server, "/classify", request.clone()).await;
        assert!(message.starts_with(words), "{request}: {message}");
    }
}

#[tokio::test]
async fn items_are_scored_after_their_query() {
    let server = Server::start();
    let text = templated(&server);
    let scores = scores(&server).await;
    let (query, item) = text.split_at(text.find("The Louvre").unwrap());
    let ids = encoder(&server).encode(&conversation(), EncodeOptions::default()).unwrap();
    for request in [
        json!({"query": query, "items": [item]}),
        json!({"query": query, "items": item}),
        json!({"items": [text]}),
        json!({"query": item, "items": [query], "item_first": true}),
        json!({"query": ids[..4], "items": [ids[4..]], "label_token_ids": null, "apply_softmax": false}),
    ] {
        let answer = ok(&server, "/v1/score", request.clone()).await;
        assert_eq!(answer["scores"], json!([scores]), "{request}");
        assert_eq!(answer["object"], "scoring");
    }
    for query in [json!("a"), json!([1, 2]), Value::Null] {
        let none = ok(&server, "/v1/score", json!({"query": query, "items": []})).await;
        assert_eq!((&none["scores"], &none["usage"]["prompt_tokens"]), (&json!([]), &json!(0)), "{query}");
    }
    let shares = ok(&server, "/v1/score", json!({"items": [text], "apply_softmax": true})).await;
    let sum: f64 = shares["scores"][0].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6);
    for (request, words) in [
        (json!({"query": "a", "items": ["b"], "label_token_ids": [1]}), "`label_token_ids` is not supported"),
        (json!({"query": "a", "items": [[1]]}), "`query` must be a list of token ids"),
        (json!({"query": "a", "items": ["b", [1]]}), "`items[1]` must be a text"),
        (json!({"items": ["a"], "score_extraction_token": "b"}), "`score_extraction_token`"),
        (json!({"items": ["a", "more ".repeat(300)]}), "`items[1]`"),
    ] {
        let message = refused(&server, "/v1/score", request.clone()).await;
        assert!(message.starts_with(words), "{request}: {message}");
    }
}

#[tokio::test]
async fn a_model_that_generates_scores_label_tokens_without_generating() {
    let built = language::Built::new("lm-head-tiny", assay::manifest::Dtype::F32);
    let all: Vec<usize> = (0..built.manifest.model.vocab_size).collect();
    let server =
        language::Server::of(built, |settings| settings.server.served_model_name = vec!["tiny".into()]);
    let ask = async |path: &str, body: Value| {
        let answer = server.ask(path, &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        answer.json()
    };
    let completion = json!({"model": "tiny", "prompt": "The capital of", "max_tokens": 1, "logprobs": 1,
                            "temperature": 0});
    let completion = ask("/v1/completions", completion).await;
    let likeliest = completion["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().unwrap();
    let answer =
        ask("/v1/score", json!({"query": "The capital", "items": [" of"], "label_token_ids": all})).await;
    let probabilities: Vec<f64> = serde_json::from_value(answer["scores"][0].clone()).unwrap();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    let largest = probabilities.iter().copied().fold(0.0, f64::max);
    assert!((largest.ln() - likeliest).abs() < 1e-6, "{} {likeliest}", largest.ln());

    let body = json!({"query": "The capital", "items": [" of", " is"], "label_token_ids": [7, 9],
                      "apply_softmax": true, "return_token_logprobs": true});
    let answer = ask("/v1/score", body).await;
    assert_eq!(answer["scores"].as_array().unwrap().len(), 2);
    for (shares, logprobs) in
        answer["scores"].as_array().unwrap().iter().zip(answer["token_logprobs"].as_array().unwrap())
    {
        let shares: [f64; 2] = serde_json::from_value(shares.clone()).unwrap();
        let logprobs: [f64; 2] = serde_json::from_value(logprobs.clone()).unwrap();
        assert!((shares[0] + shares[1] - 1.0).abs() < 1e-9);
        assert!((shares[0] / shares[1] - (logprobs[0] - logprobs[1]).exp()).abs() < 1e-9);
    }
    let none = ask("/v1/score", json!({"query": "The capital", "items": [], "label_token_ids": [7]})).await;
    assert_eq!((&none["scores"], &none["usage"]["prompt_tokens"]), (&json!([]), &json!(0)));
    let vllms = server.ask("/generative_scoring", &json!({"items": [], "label_token_ids": [7]})).await;
    assert_eq!(vllms.json()["error"]["param"], "items", "vLLM refuses to score nothing");
    let body = json!({"query": "The capital", "items": [" of"], "label_token_ids": [7, 9]});
    let vllm = ask("/generative_scoring", body).await;
    assert_eq!(vllm["data"][0]["index"], 0);
    assert!(vllm["data"][0]["score"].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)));
    // Both say what the items shared: a block has 16 tokens.
    let long = "The capital ".repeat(30);
    for route in ["/v1/score", "/generative_scoring"] {
        let body =
            json!({"query": format!("{route}{long}"), "items": [" of", " is"], "label_token_ids": [7]});
        let usage = ask(route, body).await["usage"].clone();
        let (all, cached) = (&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]);
        let (all, cached) = (all.as_u64().unwrap(), cached.as_u64().unwrap());
        assert!(cached >= all / 2 - 16 && cached < all, "{usage}");
    }
    for (body, field) in [
        (json!({"query": "a", "items": ["b"]}), "label_token_ids"),
        (json!({"query": "a", "items": ["b"], "label_token_ids": [1_000_000]}), "label_token_ids[0]"),
        (json!({"query": "a", "items": ["b"], "label_token_ids": [[1], [2]]}), "label_token_ids"),
        (json!({"query": "a", "items": ["b"], "label_token_ids": [1], "temperature": 2}), "temperature"),
    ] {
        let answer = server.ask("/v1/score", &body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!(field)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn probes_answer_without_a_key_and_know_an_engine_that_does_not_compute() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "sk-0123456789abcdef").unwrap();
    let with_keys = |settings: &mut assay::config::Settings| {
        settings.security.api_keys_file = Some(keys.path().to_owned());
    };
    let server = Server::with(with_keys, instant());
    for path in ["/health", "/ready", "/ping", "/health_generate"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    let ping = server.send(Request::post("/ping").body(Body::empty()).unwrap()).await;
    assert_eq!(ping.status, StatusCode::OK);
    for path in ["/version", "/load", "/get_model_info"] {
        assert_eq!(server.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let starting = Server::starting(|_| {});
    for path in ["/health", "/ping", "/health_generate"] {
        assert_eq!(starting.get(path).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let broken = Server::with(|_| {}, failing("out of memory"));
    assert_eq!(broken.get("/health_generate").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_model_is_described_as_sglang_and_vllm_do() {
    let server = Server::start();
    for path in ["/get_model_info", "/model_info"] {
        let info = server.get(path).await.json();
        assert_eq!((&info["served_model_name"], &info["is_generation"]), (&json!(MODEL), &json!(false)));
        assert!(info["model_path"].is_string() && info["tokenizer_path"].is_string());
    }
    assert_eq!(server.get("/server_info").await.json()["context_length"], 256);
    assert_eq!(server.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/load").await.json(), json!({"server_load": 0}));
}

#[tokio::test]
async fn an_invocation_is_answered_as_on_the_route_that_it_is_for() {
    let server = Server::start();
    let text = templated(&server);
    for (path, body) in [
        ("/classify", json!({"messages": paris()["messages"]})),
        ("/classify", json!({"model": MODEL, "input": text})),
        ("/pooling", json!({"model": MODEL, "input": text, "encoding_format": "float"})),
        ("/pooling", json!({"messages": paris()["messages"], "task": "classify"})),
        ("/rerank", json!({"query": "Hello", "documents": ["Good day", "Go away"]})),
        ("/score", json!({"text_1": "Hello", "text_2": ["Good day", "Go away"]})),
        ("/predict", json!({"inputs": text})),
        ("/get_reward", json!({"query": [text]})),
        (
            "/v1/rewards",
            json!({"messages": [{"role": "user", "content": "Hello"}], "responses": ["Good day"]}),
        ),
    ] {
        let strip = |mut answer: Value| {
            if let Some(map) = answer.as_object_mut() {
                map.remove("id");
                map.remove("created");
                map.remove("usage");
            }
            if let Some(reward) = answer.pointer_mut("/data/0").and_then(Value::as_object_mut) {
                reward.remove("usage");
            }
            answer
        };
        let direct = strip(ok(&server, path, body.clone()).await);
        assert_eq!(strip(ok(&server, "/invocations", body.clone()).await), direct, "{body}");
    }
    let message = refused(&server, "/invocations", json!({"mood": "good"})).await;
    assert!(message.contains("says which route"), "{message}");
}
