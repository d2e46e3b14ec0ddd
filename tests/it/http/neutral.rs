//! Fields that change nothing are taken on every route; what cannot be done is refused by name.

use serde_json::{Map, Value, json};

use super::server::{MODEL, Server, paris};

/// A good request to each route that refuses fields it does not know.
fn requests() -> Vec<(&'static str, Value)> {
    let messages = paris()["messages"].clone();
    vec![
        ("/v1/chat/completions", paris()),
        ("/v1/rewards", json!({"conversations": [messages]})),
        ("/classify", json!({"input": "a"})),
        ("/pooling", json!({"messages": messages})),
        ("/v1/embeddings", json!({"input": ["a"]})),
        ("/v1/reward", json!({"messages": messages})),
        ("/score", json!({"text_1": "a", "text_2": "b"})),
        ("/v1/ranking", json!({"query": {"text": "a"}, "passages": [{"text": "b"}]})),
        ("/tokenize", json!({"prompt": "a"})),
        ("/detokenize", json!({"tokens": [1]})),
    ]
}

fn with(request: &Value, further: &Value) -> Value {
    let mut request: Map<String, Value> = request.as_object().unwrap().clone();
    request.extend(further.as_object().unwrap().clone());
    request.into()
}

#[tokio::test]
async fn fields_that_change_nothing_are_accepted() {
    let server = Server::start();
    let neutral = [
        json!({"user": "me", "metadata": {"a": "b"}, "store": false, "service_tier": "auto", "request_id": "r"}),
        json!({"rid": "1", "session_id": -1, "safety_identifier": "s", "prompt_cache_key": "k"}),
        json!({"tools": [], "functions": [], "tool_choice": "none", "parallel_tool_calls": true}),
        json!({"tool_choice": "auto", "function_call": "none"}),
        json!({"response_format": {"type": "text"}, "modalities": ["text"], "audio": null}),
        json!({"add_special_tokens": true, "continue_final_message": false, "add_generation_prompt": false}),
        json!({"chat_template": null, "chat_template_kwargs": {}, "documents": [], "mm_processor_kwargs": null}),
        json!({"use_beam_search": false, "length_penalty": 1.0, "early_stopping": false, "bad_words": []}),
        json!({"spaces_between_special_tokens": true, "include_stop_str_in_output": false}),
        json!({"return_token_ids": false, "return_tokens_as_token_ids": null, "kwargs": {}}),
        json!({"padding": "max_length"}),
        json!({"padding": "do_not_pad", "do_preprocess": false, "echo": false, "suffix": null}),
        json!({"n": 1, "best_of": 1, "seed": 7, "stop": [], "stop_token_ids": [], "logit_bias": {}, "stream": false}),
        json!({"logprobs": false, "top_logprobs": 0, "sampling_params": {}, "extra_body": {}, "cache_salt": ""}),
        json!({"use_activation": false, "softmax": false, "activation": false}),
        json!({"model": MODEL, "unheard_of": null}),
    ];
    for (path, request) in requests() {
        for fields in &neutral {
            let answer = server.ask(path, with(&request, fields)).await;
            assert_eq!(answer.status, 200, "{path} {fields}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let server = Server::start();
    for (path, request) in requests() {
        for (name, value) in [
            ("functions", json!([{"name": "f"}])),
            ("tool_choice", json!("required")),
            ("response_format", json!({"type": "json_object"})),
            ("modalities", json!(["audio"])),
            ("chat_template", json!("{{ messages }}")),
            ("return_hidden_states", json!(true)),
            ("kwargs", json!({"a": 1})),
            ("cache_salt", json!("x")),
            ("n", json!(2)),
            ("unheard_of", json!(1)),
        ] {
            let answer = server.ask(path, with(&request, &json!({name: value}))).await;
            assert_eq!(answer.status, 400, "{path} {name}: {}", answer.text);
            assert_eq!(answer.json()["error"]["param"], name, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_typo_is_answered_with_the_field_that_was_meant() {
    let server = Server::start();
    for (path, request) in requests() {
        let answer = server.ask(path, with(&request, &json!({"modle": MODEL}))).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with("did you mean `model`?"), "{path}: {message}");
    }
    let typo = server.ask("/pooling", json!({"input": "a", "truncatePromptTokens": 5})).await;
    assert!(typo.text.contains("did you mean `truncate_prompt_tokens`?"), "{}", typo.text);
}

#[tokio::test]
async fn fields_that_say_how_to_generate_change_no_reward() {
    let server = Server::start();
    let plain = server.chat(paris()).await.json();
    for fields in [
        json!({"temperature": 0, "top_p": 1e-10, "top_k": -1, "min_p": 0, "seed": 1u64 << 63, "n": 1}),
        json!({"max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 0, "ignore_eos": false, "best_of": 1}),
        json!({"logprobs": false, "top_logprobs": 0, "logit_bias": {}, "stop": [], "stop_token_ids": []}),
        json!({"repetition_penalty": 1.0, "repetition_ngram_size": 0, "min_new_tokens": null}),
        json!({"stream": "false", "temperature": "0.5"}),
    ] {
        let answer = server.chat(with(&paris(), &fields)).await;
        assert_eq!(answer.status, 200, "{fields}: {}", answer.text);
        assert_eq!(answer.json()["choices"], plain["choices"], "{fields}");
    }
}

#[tokio::test]
async fn a_missing_field_is_named_with_the_one_that_may_have_been_meant() {
    let server = Server::start();
    for (path, request, field, meant) in [
        ("/classify", json!({"imput": "a"}), "input", "imput"),
        ("/rerank", json!({"query": "a", "docuemnts": ["b"]}), "documents", "docuemnts"),
        ("/rerank", json!({"qeury": "a", "documents": ["b"]}), "query", "qeury"),
        ("/score", json!({"text_1": "a", "txet_2": ["b"]}), "text_2", "txet_2"),
        ("/v1/score", json!({"queries": "a", "docs": ["b"]}), "documents", ""),
        ("/v1/rewards", json!({"mesages": [], "responses": ["b"]}), "messages", "mesages"),
        ("/get_reward", json!({"querry": ["a"]}), "query", "querry"),
        // If one of several fields is needed, the error names the one most like a field that is there.
        ("/classify", json!({"texts": "a"}), "text", "texts"),
        ("/classify", json!({"input_id": [1]}), "input_ids", "input_id"),
        ("/classify", json!({"mesages": []}), "messages", "mesages"),
        ("/classify", json!({}), "input", ""),
        ("/classify", json!({"input": null}), "input", ""),
        ("/v1/reward", json!({"message": []}), "messages", "message"),
        ("/tokenize", json!({"promt": "a"}), "prompt", "promt"),
        ("/tokenize", json!({"message": []}), "messages", "message"),
        ("/v1/rewards", json!({"conversation": []}), "conversations", "conversation"),
        ("/score", json!({"query": "a", "documents": ["b"]}), "queries", "query"),
        ("/v1/score", json!({"query": "a", "item": ["b"]}), "items", "item"),
        ("/v1/score", json!({"text1": "a", "text2": "b"}), "text_1", "text1"),
        (
            "/pooling",
            json!({"messages": [{"role": "user", "contents": "a"}]}),
            "messages[0].content",
            "contents",
        ),
    ] {
        let error = server.ask(path, request).await.json()["error"].clone();
        assert_eq!(error["param"], field, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}` is missing or null: send ")), "{message}");
        let hint = message.ends_with(&format!("; `{meant}` is there: is it a misspelling?"));
        assert_eq!(hint, !meant.is_empty(), "{message}");
    }
}

#[tokio::test]
async fn a_field_under_the_name_of_another_server_is_answered_with_the_name_here() {
    let server = Server::start();
    for (path, request, field, other) in [
        ("/rerank", json!({"query": "a", "docs": ["b"]}), "documents", "docs"),
        ("/rerank", json!({"q": "a", "documents": ["b"]}), "query", "q"),
        (
            "/v1/rewards",
            json!({"messages": [paris()["messages"][0]], "candidates": ["b"]}),
            "responses",
            "candidates",
        ),
        ("/tokenize", json!({"text": "a"}), "prompt", "text"),
        ("/detokenize", json!({"ids": [1]}), "tokens", "ids"),
    ] {
        let error = server.ask(path, request).await.json()["error"].clone();
        assert_eq!(error["param"], field, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with(&format!("; `{other}` is there: send it as `{field}`")), "{message}");
    }
}

#[tokio::test]
async fn a_request_for_no_route_is_answered_with_the_field_that_was_meant() {
    let server = Server::start();
    let error = server.ask("/invocations", json!({"querry": "a", "documents": ["b"]})).await.json();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("; `querry` is there: did you mean `query`?"), "{message}");
    let error = server.ask("/", json!({"x": 1})).await.json();
    assert!(!error["error"]["message"].as_str().unwrap().contains("did you mean"), "{error}");
}

#[tokio::test]
async fn an_unknown_word_is_repeated_and_a_text_is_not() {
    let server = Server::start();
    for name in ["encoding_format", "embed_dtype", "endianness", "truncation_side"] {
        let answer = server.ask("/pooling", json!({"input": "a", name: "bad_word"})).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("`{name}` must be one of ")), "{message}");
        assert!(message.ends_with(", not bad_word"), "{message}");
        let answer = server.ask("/pooling", json!({"input": "a", name: "a text of a user"})).await;
        assert!(!answer.text.contains("a text of a user"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_number_out_of_range_says_so() {
    let server = Server::start();
    for (name, value, words) in [
        ("max_tokens", json!(1u64 << 63), "`max_tokens` is 9223372036854775808: whole numbers here go from"),
        ("max_tokens", json!(1.5), "`max_tokens` must be a whole number, not 1.5"),
        ("priority", json!(1e30), "`priority` is 1e+30: whole numbers here go from"),
        ("n", json!([]), "`n` must be a whole number, not a list"),
        ("temperature", json!("hot"), "`temperature` must be a number, not a string"),
    ] {
        let answer = server.chat(with(&paris(), &json!({name: value}))).await;
        assert_eq!(answer.json()["error"]["param"], name, "{}", answer.text);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(words), "{message}");
    }
}
