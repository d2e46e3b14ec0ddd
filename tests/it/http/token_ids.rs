//! Token ids: `/tokenize` gives those that are scored, and wrong ones are named by their index.

use serde_json::{Value, json};

use super::server::{MODEL, Server};

const TEXT: &str = "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>";

async fn answer(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.ask(path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// The scores and the number of tokens that a route answers to `body`.
async fn scored(server: &Server, path: &str, body: Value) -> (Value, Value) {
    let json = answer(server, path, body).await;
    let data = &json["data"][0];
    let scores = ["probs", "data", "embedding"].iter().find_map(|name| data.get(name)).unwrap();
    (scores.clone(), json["usage"]["prompt_tokens"].clone())
}

#[tokio::test]
async fn a_text_and_its_ids_have_one_count_and_one_score() {
    let server = Server::start();
    let mut counts = Vec::new();
    for add_special_tokens in [true, false] {
        let body = json!({"prompt": TEXT, "add_special_tokens": add_special_tokens});
        let tokenized = answer(&server, "/tokenize", body).await;
        for path in ["/classify", "/pooling", "/v1/embeddings"] {
            let text = json!({"input": TEXT, "add_special_tokens": add_special_tokens});
            let of_text = scored(&server, path, text).await;
            let of_ids = scored(&server, path, json!({"input": tokenized["tokens"]})).await;
            assert_eq!(of_text, of_ids, "{path}");
            assert_eq!(of_text.1, tokenized["count"], "{path}");
        }
        counts.push(tokenized["count"].as_u64().unwrap());
    }
    // The BOS token makes the difference.
    assert_eq!(counts[0], counts[1] + 1);
}

#[tokio::test]
async fn a_conversation_and_its_ids_have_one_count_and_one_score() {
    let server = Server::start();
    let messages =
        json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]);
    let tokenized = answer(&server, "/tokenize", json!({"messages": messages, "model": MODEL})).await;
    assert_eq!(tokenized["token_strs"], Value::Null);
    let of_messages = scored(&server, "/pooling", json!({"messages": messages})).await;
    assert_eq!(of_messages, scored(&server, "/pooling", json!({"input": tokenized["tokens"]})).await);
    let body = json!({"messages": messages, "add_generation_prompt": true, "return_token_strs": true});
    let longer = answer(&server, "/tokenize", body).await;
    assert!(longer["count"].as_u64() > tokenized["count"].as_u64());
    assert_eq!(longer["token_strs"].as_array().unwrap().len(), longer["tokens"].as_array().unwrap().len());
}

#[tokio::test]
async fn wrong_ids_are_named_by_their_index() {
    let server = Server::start();
    let ids = "the model's token ids are whole numbers from 0 to";
    for (input, field, words) in [
        (json!([-1]), "input[0]", format!("is -1, and {ids}")),
        (json!([5, 1e30]), "input[1]", format!("is 1e+30, and {ids}")),
        (json!([5, 1.5]), "input[1]", format!("is 1.5, and {ids}")),
        (json!([5, 1u64 << 40]), "input[1]", format!("is 1099511627776, and {ids}")),
        (json!([5, "a"]), "input[1]", "must be a token id, not a string".into()),
        (json!([[1], [1, 640]]), "input[1][1]", format!("is 640, and {ids}")),
        (json!([[]]), "input[0]", "is empty: send at least one token id".into()),
        (json!(["a", 5]), "input[1]", "must be a text or a list of token ids, not 5".into()),
        (json!([]), "input", "is empty".into()),
        (json!(7), "input", "must be a text".into()),
    ] {
        for path in ["/classify", "/pooling", "/v1/embeddings"] {
            let answer = server.ask(path, json!({"input": input})).await;
            assert_eq!(answer.status, 400, "{path} {input}: {}", answer.text);
            let error = &answer.json()["error"];
            assert_eq!(error["param"], field, "{path} {input}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(&words), "{path} {input}: {message}");
        }
    }
    for (tokens, field) in [
        (json!([1, -1]), "tokens[1]"),
        (json!(["a"]), "tokens[0]"),
        (json!("a"), "tokens"),
        (json!([[1], 2]), "tokens[1]"),
        (json!([[1], [2, -1]]), "tokens[1][1]"),
    ] {
        let answer = server.ask("/detokenize", json!({"tokens": tokens})).await;
        assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
    }
    let empty = server.ask("/detokenize", json!({"tokens": []})).await;
    assert_eq!(empty.json(), json!({"prompt": "", "text": ""}));
}

#[tokio::test]
async fn several_texts_are_tokenized_and_spelled_in_one_call() {
    let server = Server::start();
    let texts = ["Paris is", "", "<|eot_id|>"];
    let mut each = Vec::new();
    for text in texts {
        each.push(answer(&server, "/tokenize", json!({"prompt": text, "add_special_tokens": false})).await);
    }
    assert_eq!((&each[1]["tokens"], &each[1]["count"]), (&json!([]), &json!(0)));
    for path in ["/tokenize", "/v1/tokenize"] {
        let body = json!({"prompt": texts, "add_special_tokens": false, "return_token_strs": true});
        let all = answer(&server, path, body).await;
        for (index, one) in each.iter().enumerate() {
            assert_eq!(all["tokens"][index], one["tokens"], "{path}");
            assert_eq!(all["count"][index], one["count"], "{path}");
        }
        assert_eq!(all["token_strs"][2], json!(["<|eot_id|>"]), "{path}");
        for (path, skip, last) in [("/detokenize", false, "<|eot_id|>"), ("/v1/detokenize", true, "")] {
            let body = json!({"tokens": all["tokens"], "skip_special_tokens": skip});
            let spelled = json!(["Paris is", "", last]);
            assert_eq!(answer(&server, path, body).await, json!({"prompt": spelled, "text": spelled}));
        }
    }
    for (prompt, field) in [(json!([]), "prompt"), (json!(["a", 7]), "prompt[1]"), (json!(7), "prompt")] {
        let answer = server.ask("/tokenize", json!({"prompt": prompt})).await;
        assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
    }
}

#[tokio::test]
async fn vllms_truncation_is_honoured_within_the_engines_length() {
    let server = Server::start();
    let long = "more ".repeat(300);
    for path in ["/classify", "/pooling", "/v1/embeddings"] {
        for side in ["left", "right"] {
            let body = json!({"input": long, "truncate_prompt_tokens": 10, "truncation_side": side});
            assert_eq!(scored(&server, path, body).await.1, 10, "{path} {side}");
        }
        let all = json!({"input": long, "truncate_prompt_tokens": -1});
        assert_eq!(scored(&server, path, all).await.1, 256, "{path}");
        for (name, value) in [
            ("truncate_prompt_tokens", json!(257)),
            ("truncate_prompt_tokens", json!(0)),
            ("truncate_prompt_tokens", json!(-2)),
            ("truncation_side", json!("middle")),
        ] {
            let answer = server.ask(path, json!({"input": "a", name: value})).await;
            assert_eq!(answer.json()["error"]["param"], name, "{path}: {}", answer.text);
        }
    }
    let kept = |side: &str| json!({"input": [7, 8, 9], "truncate_prompt_tokens": 2, "truncation_side": side});
    let right = scored(&server, "/pooling", kept("right")).await;
    assert_eq!(right, scored(&server, "/pooling", json!({"input": [7, 8]})).await);
    let left = scored(&server, "/pooling", kept("left")).await;
    assert_eq!(left, scored(&server, "/pooling", json!({"input": [8, 9]})).await);
}

#[tokio::test]
async fn clients_of_lmdeploy_and_tei_get_the_tokens_of_tokenize_in_their_formats() {
    let server = Server::start();
    let ids = answer(&server, "/tokenize", json!({"prompt": TEXT})).await["tokens"].clone();
    let encoded = answer(&server, "/v1/encode", json!({"input": TEXT, "do_preprocess": false})).await;
    assert_eq!(encoded, json!({"input_ids": ids, "length": ids.as_array().unwrap().len()}));
    let both = answer(&server, "/v1/encode", json!({"input": [TEXT, "a"], "add_bos": false})).await;
    assert_eq!(both["input_ids"][0].as_array().unwrap().len(), both["length"][0]);
    assert_eq!(both["length"][1], 1);

    let located = answer(&server, "/tokenize", json!({"inputs": [TEXT, "a"]})).await;
    let tokens = located[0].as_array().unwrap();
    let found: Value = tokens.iter().map(|token| token["id"].clone()).collect();
    assert_eq!((found, located.as_array().unwrap().len()), (ids.clone(), 2));
    // The BOS token is not in the text; every other one is, in its place.
    assert_eq!((&tokens[0]["special"], &tokens[0]["start"]), (&json!(true), &Value::Null));
    for token in tokens.iter().filter(|token| token["special"] == false) {
        let place = [&token["start"], &token["stop"]].map(|place| place.as_u64().unwrap() as usize);
        assert_eq!(token["text"], TEXT[place[0]..place[1]], "{token}");
    }
    let one = answer(&server, "/tokenize", json!({"inputs": "a", "add_special_tokens": false})).await;
    assert_eq!(one, json!([[{"id": one[0][0]["id"], "text": "a", "special": false, "start": 0, "stop": 1}]]));

    let decoded = answer(&server, "/decode", json!({"ids": ids, "skip_special_tokens": false})).await;
    assert!(decoded[0].as_str().unwrap().ends_with(TEXT), "{decoded}");
    let plain = answer(&server, "/decode", json!({"ids": [ids, [one[0][0]["id"]]]})).await;
    assert_eq!(plain[1], "a");
    assert!(!plain[0].as_str().unwrap().contains("<|"), "special tokens are left out: {plain}");
}

#[tokio::test]
async fn a_wrong_request_for_tokens_names_its_own_field() {
    let server = Server::start();
    for (path, body, field) in [
        ("/v1/encode", json!({"input": 5}), "input"),
        ("/v1/encode", json!({"input": ["a", 5]}), "input[1]"),
        ("/v1/encode", json!({"inputs": "a"}), "input"),
        ("/v1/encode", json!({"input": "a", "do_preprocess": true}), "do_preprocess"),
        ("/tokenize", json!({"inputs": ["a", 5]}), "inputs[1]"),
        ("/tokenize", json!({"inputs": "a", "prompt": "a"}), "prompt"),
        ("/tokenize", json!({"inputs": []}), "inputs"),
        ("/decode", json!({"ids": ["a"]}), "ids[0]"),
        ("/decode", json!({"ids": [[1], [-1]]}), "ids[1][0]"),
        ("/decode", json!({"tokens": [1]}), "ids"),
    ] {
        let error = server.ask(path, body).await;
        assert_eq!(error.status, 400, "{path}: {}", error.text);
        assert_eq!(error.json()["error"]["param"], field, "{path}: {}", error.text);
    }
}
