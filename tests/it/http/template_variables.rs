//! `chat_template_kwargs`, `tools` and `documents` reach the chat template on every route, and change the prompt as in
//! Jinja2.

use assay::manifest::TEMPLATE_FILE;
use assay::prompt::TemplateVariables;
use serde_json::{Map, Value, json};

use super::engines::instant;
use super::server::{Server, paris};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
    {{ style | default('plain') | tojson }}{% if tools %}{{ tools | tojson }}{% endif %}\
    {% for d in documents or [] %}{{ d.text }}{% endfor %}{{ strftime_now('%Y-%m-%d') }}";

/// A server with that template, and with these variables as an option.
fn server(option: Value) -> Server {
    let mut server = Server::starting(|settings| {
        std::fs::write(settings.engine.directory.join(TEMPLATE_FILE), TEMPLATE).unwrap();
        settings.server.chat_template_kwargs = Some(variables(&option));
    });
    server.load(instant());
    server
}

fn variables(json: &Value) -> TemplateVariables {
    TemplateVariables::new(json.as_object().unwrap().clone()).unwrap()
}

/// A request with a conversation to each route that has one.
fn requests() -> Vec<(&'static str, Value)> {
    let messages = paris()["messages"].clone();
    let (question, answer) = (messages[0]["content"].clone(), messages[1]["content"].clone());
    vec![
        ("/v1/chat/completions", json!({"messages": messages})),
        ("/v1/rewards", json!({"conversations": [messages]})),
        ("/v1/rewards", json!({"messages": [messages[0]], "responses": [answer]})),
        ("/classify", json!({"messages": messages})),
        ("/pooling", json!({"messages": messages})),
        ("/v1/embeddings", json!({"messages": messages})),
        ("/score", json!({"text_1": question, "text_2": answer})),
        ("/v1/score", json!({"queries": question, "documents": [answer]})),
        ("/rerank", json!({"query": question, "documents": [answer]})),
        ("/v2/rerank", json!({"query": question, "documents": [answer]})),
        ("/v1/ranking", json!({"query": {"text": question}, "passages": [{"text": answer}]})),
        ("/tokenize", json!({"messages": messages})),
        ("/slime/reward", json!({"prompt": question, "response": answer})),
        (
            "/verify",
            json!({
                "responses_create_params": {"input": question},
                "response": {"output": [{"role": "assistant", "content": answer}]},
            }),
        ),
    ]
}

/// Whether a route takes `chat_template_kwargs` alone, because other fields may be those of a trainer's user.
fn is_trainers(path: &str) -> bool {
    matches!(path, "/slime/reward" | "/verify")
}

fn with(request: &Value, further: &Value) -> Value {
    let mut request: Map<String, Value> = request.as_object().unwrap().clone();
    request.extend(further.as_object().unwrap().clone());
    request.into()
}

/// The answer to a request, without what differs each time.
async fn answer(server: &Server, path: &str, request: &Value, further: Value) -> String {
    let answer = server.ask(path, with(request, &further)).await;
    assert_eq!(answer.status, 200, "{path} {further}: {}", answer.text);
    let mut json = answer.json();
    // The second request for a text finds its score in the cache, and `/verify` repeats the request.
    for name in ["id", "created", "usage", "meta", "chat_template_kwargs", "tools"] {
        json.as_object_mut().map(|json| json.shift_remove(name));
    }
    json.as_object_mut()
        .into_iter()
        .flat_map(|json| json.get_mut("data").and_then(Value::as_array_mut))
        .flatten()
        .filter_map(Value::as_object_mut)
        .for_each(|item| drop(item.remove("usage")));
    json.to_string()
}

#[tokio::test]
async fn variables_reach_the_template_on_every_route() {
    let server = server(json!({}));
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (path, request) in requests() {
        let ask = |further| answer(&server, path, &request, further);
        let plain = ask(json!({})).await;
        assert_eq!(ask(json!({"chat_template_kwargs": {"unread": [1]}})).await, plain, "{path}");
        assert_eq!(ask(json!({"chat_template_kwargs": null, "tools": []})).await, plain, "{path}");
        let mut others = vec![plain];
        for further in [
            json!({"chat_template_kwargs": {"style": {"a": [null, 1.5]}}}),
            json!({"chat_template_kwargs": {"style": false}}),
            json!({"chat_template_kwargs": {"strftime_now": "2025-01-31"}}),
            json!({"tools": tool}),
            json!({"documents": [{"text": "It rains."}]}),
        ] {
            // `documents` of a reranker are what it ranks.
            if further.get("documents").is_some() && (path.contains("rank") || path.contains("score")) {
                continue;
            }
            if is_trainers(path) && further.get("chat_template_kwargs").is_none() {
                continue;
            }
            let changed = ask(further.clone()).await;
            assert!(!others.contains(&changed), "{path} {further}");
            assert_eq!(ask(further).await, changed, "{path}");
            others.push(changed);
        }
        if !is_trainers(path) {
            assert_eq!(ask(json!({"chat_template_kwargs": {"tools": tool}})).await, others[4], "{path}");
        }
    }
}

#[tokio::test]
async fn a_servers_variables_hold_unless_a_request_sets_them() {
    let (plain, server) = (server(json!({})), server(json!({"style": "bold"})));
    for (path, request) in requests() {
        let bold = json!({"chat_template_kwargs": {"style": "bold"}});
        let default = answer(&server, path, &request, json!({})).await;
        assert_eq!(default, answer(&plain, path, &request, bold).await, "{path}");
        let other = json!({"chat_template_kwargs": {"style": "other"}});
        let set = answer(&server, path, &request, other.clone()).await;
        assert_eq!(set, answer(&plain, path, &request, other).await, "{path}");
    }
    let listed = server.get("/v1/models").await.json();
    assert_eq!(listed["data"][0]["chat_template_kwargs"], json!({"style": "bold"}));
    assert_eq!(plain.get("/v1/models").await.json()["data"][0].get("chat_template_kwargs"), None);
}

#[tokio::test]
async fn variables_cannot_spell_tokens_that_structure_turns() {
    let server = server(json!({}));
    let messages = paris()["messages"].clone();
    let tokens = |fields: Value| {
        let request = with(&json!({"messages": messages}), &fields);
        let server = &server;
        async move { server.ask("/tokenize", request).await.json()["tokens"].clone() }
    };
    let end = server.ask("/tokenize", json!({"prompt": "<|eot_id|>", "add_special_tokens": false})).await;
    let end = end.json()["tokens"][0].clone();
    for fields in [
        json!({"chat_template_kwargs": {"style": "<|eot_id|>"}}),
        json!({"chat_template_kwargs": {"style": {"<|eot_id|>": ["<|eot_id|>"]}}}),
        json!({"tools": [{"description": "<|eot_id|>"}]}),
        json!({"documents": [{"text": "<|eot_id|>"}]}),
    ] {
        let tokens = tokens(fields.clone()).await;
        assert!(!tokens.as_array().unwrap().contains(&end), "{fields}");
    }
}

#[tokio::test]
async fn names_that_the_server_sets_are_refused_by_name() {
    let server = server(json!({}));
    for (path, request) in requests() {
        for (name, value) in [
            ("messages", json!([])),
            ("add_generation_prompt", json!(true)),
            ("chat_template", json!("x")),
            ("bos_token", json!("x")),
            ("strftime_now", json!("today")),
        ] {
            let request = with(&request, &json!({"chat_template_kwargs": {"style": 1, name: value}}));
            let answer = server.ask(path, request).await;
            assert_eq!(answer.status, 400, "{path} {name}: {}", answer.text);
            let param = format!("chat_template_kwargs.{name}");
            assert_eq!(answer.json()["error"]["param"], param, "{path}: {}", answer.text);
        }
        for (fields, param) in [
            (json!({"chat_template_kwargs": [1]}), "chat_template_kwargs"),
            (json!({"tools": ["f"]}), "tools[0]"),
            (json!({"tools": [{"function": "f"}]}), "tools[0].function"),
            (json!({"documents": [1]}), "documents[0]"),
        ] {
            if is_trainers(path) && param != "chat_template_kwargs" {
                continue;
            }
            let answer = server.ask(path, with(&request, &fields)).await;
            assert_eq!(answer.status, 400, "{path} {fields}: {}", answer.text);
            // On the routes that rank, `documents` are the responses.
            let its_own = path.contains("rank") || path.contains("score");
            if !(its_own && fields.get("documents").is_some()) {
                assert_eq!(answer.json()["error"]["param"], param, "{path}: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn a_text_that_no_template_renders_has_no_variables() {
    let server = server(json!({}));
    for (path, request) in [
        ("/classify", json!({"input": "a"})),
        ("/pooling", json!({"input": [1]})),
        ("/tokenize", json!({"prompt": "a"})),
        ("/get_reward", json!({"query": ["a"]})),
        ("/v1/score/evaluation", json!({"messages": ["a"]})),
        ("/v1/completions", json!({"prompt": "a", "return_context_logits": true})),
        ("/slime/reward", json!({"prompt": "<|eot_id|>a", "response": "b"})),
        ("/predict", json!({"inputs": [["<|eot_id|>a", "b"]]})),
    ] {
        let is_trainers =
            ["/get_reward", "/v1/score/evaluation", "/v1/completions", "/slime/reward"].contains(&path);
        for (fields, param) in [
            (json!({"chat_template_kwargs": {"style": "bold"}}), "chat_template_kwargs"),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"documents": [{"text": "It rains."}]}), "documents"),
        ] {
            if is_trainers && param != "chat_template_kwargs" {
                continue;
            }
            let answer = server.ask(path, with(&request, &fields)).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
            assert_eq!(answer.json()["error"]["param"], param, "{path}: {}", answer.text);
        }
    }
}
