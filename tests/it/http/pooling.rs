//! `/pooling` and `/v1/embeddings`, as vLLM answers them.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::server::{ATTRIBUTES, Server};

const TEXTS: [&str; 2] = ["Hello my name is", "The best thing about it"];

async fn ok(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.ask(path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Two texts' scores, as the route `/classify` gives them.
async fn scores(server: &Server) -> Vec<Vec<f32>> {
    let json = ok(server, "/classify", json!({"input": TEXTS})).await;
    json["data"].as_array().unwrap().iter().map(|item| floats(&item["probs"])).collect()
}

#[tokio::test]
async fn the_last_row_starts_with_the_reward() {
    let server = Server::start();
    let expected = scores(&server).await;
    for body in [json!({"input": TEXTS}), json!({"input": TEXTS, "task": "reward"})] {
        let json = ok(&server, "/pooling", body).await;
        assert_eq!(json["object"], "list");
        for (index, scores) in expected.iter().enumerate() {
            let item = &json["data"][index];
            assert_eq!((&item["index"], &item["object"]), (&json!(index), &json!("pooling")));
            let rows = item["data"].as_array().unwrap();
            assert_eq!((rows.len(), floats(&rows[0])), (1, scores.clone()));
        }
    }
}

#[tokio::test]
async fn a_task_decides_the_shape() {
    let server = Server::start();
    let expected = scores(&server).await;
    let json = ok(&server, "/pooling", json!({"input": TEXTS, "task": "classify"})).await;
    assert_eq!(floats(&json["data"][1]["data"]), expected[1]);

    let json = ok(&server, "/pooling", json!({"input": TEXTS[0], "task": "token_classify"})).await;
    let rows = json["data"][0]["data"].as_array().unwrap().clone();
    assert_eq!(json["usage"]["prompt_tokens"], rows.len());
    assert_eq!(floats(rows.last().unwrap()), expected[0]);
    let tokens = ok(&server, "/tokenize", json!({"prompt": TEXTS[0]})).await["tokens"].clone();
    // Each row has the scores of the text up to its token.
    for (index, row) in rows.iter().enumerate() {
        let start = &tokens.as_array().unwrap()[..=index];
        let json = ok(&server, "/pooling", json!({"input": start})).await;
        assert_eq!(&json["data"][0]["data"][0], row, "{index}");
    }
    for task in ["embed", "token_embed", "plugin", "dance"] {
        let answer = server.ask("/pooling", json!({"input": "a", "task": task})).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["param"], "task");
    }
}

#[tokio::test]
async fn numbers_come_in_base_64_of_any_type_and_order() {
    let server = Server::start();
    let expected = scores(&server).await;
    for (path, name) in [("/pooling", "data"), ("/v1/embeddings", "embedding")] {
        for (dtype, size) in
            [("float32", 4), ("float16", 2), ("bfloat16", 2), ("fp8_e4m3", 1), ("fp8_e5m2", 1)]
        {
            let mut by_order = Vec::new();
            for endianness in ["native", "little", "big"] {
                let body = json!({
                    "input": TEXTS, "encoding_format": "base64", "embed_dtype": dtype, "endianness": endianness
                });
                let json = ok(&server, path, body).await;
                let bytes = STANDARD.decode(json["data"][1][name].as_str().unwrap()).unwrap();
                assert_eq!(bytes.len(), size * ATTRIBUTES.len());
                by_order.push(bytes);
            }
            assert_eq!(by_order[0], by_order[1]);
            let reversed: Vec<u8> =
                by_order[2].chunks(size).flat_map(|bytes| bytes.iter().rev()).copied().collect();
            assert_eq!(reversed, by_order[1]);
            let two = |bytes: &[u8]| [bytes[0], bytes[1]];
            for (index, bytes) in by_order[1].chunks(size).enumerate() {
                let score = expected[1][index];
                match dtype {
                    "float32" => assert_eq!(bytes, score.to_le_bytes()),
                    "float16" => assert_eq!(f16::from_le_bytes(two(bytes)), f16::from_f32(score)),
                    "bfloat16" => assert_eq!(bf16::from_le_bytes(two(bytes)), bf16::from_f32(score)),
                    _ => assert_eq!(bytes[0] & 0x80 != 0, score < 0.0),
                }
            }
        }
        for field in ["encoding_format", "embed_dtype", "endianness"] {
            let answer = server.ask(path, json!({"input": "a", field: "bad"})).await;
            assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn bytes_come_with_a_header_that_describes_them() {
    let server = Server::start();
    let expected = scores(&server).await;
    for (path, shape) in [("/pooling", json!([1, 5])), ("/v1/embeddings", json!([5]))] {
        for format in ["bytes", "bytes_only"] {
            let body = json!({"input": TEXTS, "encoding_format": format, "endianness": "little"});
            let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
            let response = server.router().oneshot(request).await.unwrap();
            assert_eq!(response.headers()["content-type"], "application/octet-stream");
            let metadata = response.headers().get("metadata").cloned();
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let floats: Vec<f32> =
                bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
            assert_eq!(floats, expected.concat());
            if format == "bytes_only" {
                assert_eq!(metadata, None);
                continue;
            }
            let metadata: Value = serde_json::from_slice(metadata.unwrap().as_bytes()).unwrap();
            let part = json!({
                "index": 1, "embed_dtype": "float32", "endianness": "little", "start": 20, "end": 40, "shape": shape
            });
            assert_eq!(metadata["data"][1], part);
            assert!(metadata["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
        }
    }
    let many = json!({"input": vec!["a"; 800], "encoding_format": "bytes"});
    let answer = server.ask("/pooling", many).await;
    assert_eq!(answer.json()["error"]["param"], "encoding_format", "{}", answer.text);
}

#[tokio::test]
async fn embeddings_have_the_form_of_openai() {
    let server = Server::start();
    let json = ok(&server, "/v1/embeddings", json!({"input": TEXTS, "dimensions": 5})).await;
    assert!(json["id"].as_str().unwrap().starts_with("embd-") && json["created"].as_u64().unwrap() > 0);
    assert_eq!(floats(&json["data"][0]["embedding"]), scores(&server).await[0]);
    let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]);
    let of_messages = ok(&server, "/v1/embeddings", json!({"messages": messages})).await;
    assert_eq!(of_messages["data"].as_array().unwrap().len(), 1);
    let answer = server.ask("/v1/embeddings", json!({"input": "a", "dimensions": 3})).await;
    assert_eq!(answer.json()["error"]["param"], "dimensions", "{}", answer.text);
}
