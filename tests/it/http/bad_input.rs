//! What a bad request is answered with: a status, and a sentence that names the field.

use std::fmt::Write;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::engines::instant;
use super::server::{MODEL, Server, paris};

/// The good request with one field changed.
fn with(field: &str, value: Value) -> String {
    let mut request = paris();
    request[field] = value;
    request.to_string()
}

fn with_message(message: Value) -> String {
    with("messages", json!([message]))
}

#[tokio::test]
async fn every_error_names_the_field_and_says_what_to_do() {
    let server = Server::start();
    let requests = [
        ("broken JSON", "{\"model\": \"x\", \"messages\": [}".to_owned()),
        ("no JSON", String::new()),
        ("a list", "[]".to_owned()),
        ("model of another type", with("model", json!(7))),
        ("unknown model", with("model", json!("gpt-4"))),
        ("no messages", json!({"model": MODEL}).to_string()),
        ("messages of another type", with("messages", json!("Hello"))),
        ("empty messages", with("messages", json!([]))),
        ("a message of another type", with("messages", json!(["Hello"]))),
        ("no role", with_message(json!({"content": "Hello"}))),
        ("no content", with_message(json!({"role": "user"}))),
        ("content null", with_message(json!({"role": "user", "content": null}))),
        ("content of another type", with_message(json!({"role": "user", "content": 1.5}))),
        (
            "an image",
            with_message(json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})),
        ),
        ("a part without text", with_message(json!({"role": "user", "content": [{"type": "text"}]}))),
        ("two answers", with("n", json!(2))),
        ("another format", with("response_format", json!({"type": "json_object"}))),
        ("unknown field", with("best_of", json!(4))),
        ("temperature of another type", with("temperature", json!("hot"))),
        ("stream of another type", with("stream", json!("maybe"))),
        ("priority out of range", with("priority", json!(1000))),
        ("no time", with("timeout", json!(0))),
        ("too long", with_message(json!({"role": "user", "content": "word ".repeat(300)}))),
    ];
    let mut all = String::new();
    for (name, request) in requests {
        let answer = server.post(request).await;
        writeln!(all, "{name}: {}\n  {}", answer.status, answer.json()["error"]).unwrap();
    }
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(all);
    });
}

#[tokio::test]
async fn a_key_that_an_object_has_twice_is_named_wherever_it_is() {
    let server = Server::start();
    for (path, body, field) in [
        ("/classify", r#"{"input": "a", "input": "b"}"#, "input"),
        ("/get_reward", r#"{"query": ["a"], "labels": [], "labels": []}"#, "labels"),
        (
            "/v1/rewards",
            r#"{"conversations": [[{"role": "user", "role": "assistant"}]]}"#,
            "conversations[0][0].role",
        ),
        ("/score", r#"{"text_1": "a", "text_2": "b", "text_2": "c"}"#, "text_2"),
        ("/predict", r#"{"inputs": "a", "parameters": {"top_k": 1, "top_k": 2}}"#, "parameters.top_k"),
        ("/invocations", r#"{"input": "a", "input": "b"}"#, "input"),
        ("/verify", r#"{"response": {"output": [], "output": []}}"#, "response.output"),
        ("/tokenize", r#"{"prompt": "a", "pro\u006dpt": "b"}"#, "prompt"),
    ] {
        let request = Request::post(path).body(Body::from(body)).unwrap();
        let answer = server.send(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        let error = &answer.json()["error"];
        assert_eq!(error["param"], field, "{path}: {error}");
        assert_eq!(error["message"], format!("`{field}` appears twice; leave one out"));
    }
}

#[tokio::test]
async fn a_text_in_a_field_of_another_format_is_answered_with_what_to_do() {
    let server = Server::start();
    let message = json!({"role": "user", "content": "a"});
    for (path, body, expected) in [
        (
            "/classify",
            json!({"input": "a", "messages": [message]}),
            "`input` is not supported: it cannot be combined with `messages`",
        ),
        ("/score", json!({"query": "a"}), "`items` is missing"),
        ("/score", json!({"query": "a", "document": ["b"]}), "`query` is there: is it a misspelling?"),
        ("/v1/rewards", json!({"messages": [message]}), "or whole conversations in `conversations`"),
        ("/v1/rewards", json!({"conversations": [message]}), "`conversations[0]` is a message: send a list"),
        (
            "/invocations",
            json!({"documents": ["a"]}),
            "`documents` is there, and needs another field beside it",
        ),
        ("/invocations", json!(["a"]), "the request body must be a JSON object, not a list"),
        ("/nope", json!({}), "there is no /nope on this server; GET /openapi.json"),
    ] {
        let answer = server.ask(path, body).await;
        assert!(answer.text.contains(expected), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_server_that_wants_the_assistant_last_names_the_last_role() {
    let server = Server::with(|settings| settings.server.require_assistant_turn = true, instant());
    let answer = server.post(with_message(json!({"role": "user", "content": "Hello"}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["param"], "messages[0].role");
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("user"));
    assert_eq!(server.chat(paris()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_or_not_its_length_was_declared() {
    let server = Server::with(|settings| settings.server.max_body_bytes = 1000, instant());
    let declared = server.post("x".repeat(1001)).await;
    let pieces = (0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(100)));
    let undeclared = server.post(Body::from_stream(Pieces(pieces))).await;
    for answer in [declared, undeclared] {
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.code(), "request_too_large");
        assert!(answer.text.contains("1000 bytes"));
    }
    assert_eq!(server.chat(paris()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_does_not_repeat_a_long_mistake() {
    let server = Server::start();
    let long = "x".repeat(100_000);
    let field = format!("{{\"{long}\":1,{}", paris().to_string().trim_start_matches('{'));
    let role = with_message(json!({"role": long, "content": ""}));
    for request in [with("model", json!(long)), role.clone(), field] {
        assert!(server.post(request).await.text.len() < 2_000);
    }
    assert_eq!(server.post(role).await.json()["error"]["param"], "messages[0].role");
}

#[tokio::test]
async fn a_large_body_within_the_limit_is_read_to_its_end() {
    let answer =
        Server::start().post(with_message(json!({"role": "user", "content": "word ".repeat(100_000)}))).await;
    assert_eq!(answer.code(), "context_length_exceeded");
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_errors_in_openai_form() {
    let server = Server::start();
    let path = server.get("/v1/completion").await;
    assert_eq!((path.status, path.code().as_str()), (StatusCode::NOT_FOUND, "unknown_url"));
    assert!(path.text.contains("/v1/completion"));
    let method = server.get("/v1/chat/completions").await;
    assert_eq!(
        (method.status, method.code().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    assert_eq!(method.headers["allow"], "POST");
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_changes_nothing() {
    let server = Server::start();
    let expected = server.ask("/v1/chat/completions", paris()).await;
    let answer = server.ask("/v1/chat/completions/", paris()).await;
    assert_eq!(answer.json()["choices"], expected.json()["choices"]);
    assert_eq!(server.get("/v1/models/?limit=1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_may_start_with_a_byte_order_mark_and_a_compressed_one_is_called_so() {
    let server = Server::start();
    let send = async |body: Vec<u8>| {
        server.send(Request::post("/v1/chat/completions").body(Body::from(body)).unwrap()).await
    };
    assert_eq!(send(format!("\u{feff}{}", paris()).into_bytes()).await.status, StatusCode::OK);
    let compressed = send(b"\x1f\x8b\x08\0rest".to_vec()).await;
    assert_eq!(compressed.status, StatusCode::BAD_REQUEST);
    assert!(compressed.text.contains("compressed with gzip"), "{}", compressed.text);
}

#[tokio::test]
async fn a_header_that_is_not_a_number_is_named() {
    let server = Server::start();
    for (name, value) in
        [("X-Priority", "soon"), ("X-Request-Timeout", "soon"), ("X-Request-Timeout", "1e308")]
    {
        let request = Request::post("/v1/chat/completions").header(name, value);
        let answer = server.send(request.body(Body::from(paris().to_string())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["error"]["param"], name);
    }
}

#[tokio::test]
async fn a_header_that_is_there_twice_is_refused_unless_a_field_replaces_it() {
    let server = Server::start();
    for (header, field) in [("X-Priority", "priority"), ("X-Request-Timeout", "timeout")] {
        let send = async |body: Value| {
            let request = Request::post("/v1/chat/completions").header(header, "7").header(header, "8");
            server.send(request.body(Body::from(body.to_string())).unwrap()).await
        };
        let answer = send(paris()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["error"]["param"], header);
        assert!(answer.text.contains("appears twice; leave one out"), "{}", answer.text);
        let mut body = paris();
        body[field] = 9.into();
        assert_eq!(send(body).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_list_that_is_nested_too_deeply_is_one_on_every_route() {
    let server = Server::start();
    for path in ["/v1/rewards", "/invocations", "/"] {
        let request = Request::post(path).body(Body::from("[".repeat(1000))).unwrap();
        let answer = server.send(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains("nested at most 127 deep"), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_content_type_is_not_asked_for() {
    let request = Request::post("/v1/chat/completions").header("content-type", "text/plain");
    let answer = Server::start().send(request.body(Body::from(paris().to_string())).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// A body that comes in pieces, without a declared length.
struct Pieces<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
