//! Rankings and pairs in the formats of vLLM, Cohere, SGLang, Infinity, NVIDIA and TEI.

use assay::config::RouteActivation;
use serde_json::{Value, json};

use super::compat::{PROMPT, RESPONSE, ok, refused, scores, templated};
use super::engines::instant;
use super::server::Server;

const DOCUMENTS: [&str; 4] = ["a", "b", "c", "d"];

/// The scores of the documents by `/score`.
async fn pair_scores(server: &Server, request: Value) -> Vec<f64> {
    let answer = ok(server, "/score", request).await;
    answer["data"].as_array().unwrap().iter().map(|pair| pair["score"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn vllm_scores_pairs_under_four_pairs_of_names() {
    let server = Server::start();
    let first = scores(&server).await[0].clone();
    for (one, two) in
        [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
    {
        for path in ["/score", "/v1/score"] {
            let answer = ok(&server, path, json!({one: PROMPT, two: [RESPONSE, "x"]})).await;
            assert_eq!(
                answer["data"][0],
                json!({"index": 0, "object": "score", "score": first}),
                "{path} {one}"
            );
            assert_eq!(answer["data"].as_array().unwrap().len(), 2);
            assert_eq!(answer["object"], "list");
            assert!(answer["usage"]["prompt_tokens"].is_u64() && answer["created"].is_u64());
        }
        let pairs = pair_scores(&server, json!({one: ["x", PROMPT], two: ["y", RESPONSE]})).await;
        assert_eq!(json!(pairs[1]), first);
    }
    let parts = json!({"content": [{"type": "text", "text": RESPONSE}]});
    let answer = pair_scores(&server, json!({"queries": {"content": PROMPT}, "documents": [parts]})).await;
    assert_eq!(json!(answer[0]), first);
    for (request, words) in [
        (json!({"text_1": ["a", "b"], "text_2": ["c"]}), "`text_2` has 1 texts and `text_1` has 2"),
        (json!({"text_1": "a"}), "`text_2` is missing"),
        (json!({"documents": ["a"]}), "`queries` is missing"),
        (json!({"data_1": "a", "data_2": []}), "`data_2` is empty"),
        (json!({"text_1": "a", "text_2": [7]}), "`text_2[0]` must be a string"),
        (
            json!({"queries": "a", "documents": [{"content": [{"type": "image_url", "image_url": {}}]}]}),
            "`documents[0].content[0].type` is not supported",
        ),
        (
            json!({"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 257}),
            "`truncate_prompt_tokens` is 257",
        ),
        (json!({"text_1": "a", "text_2": ["b", "more ".repeat(300)]}), "`text_2[1]`"),
        (json!({"text_1": "a", "text_2": "b", "max_tokens_per_doc": -5}), "`max_tokens_per_doc` is -5"),
    ] {
        let message = refused(&server, "/score", request.clone()).await;
        assert!(message.starts_with(words), "{request}: {message}");
    }
}

#[tokio::test]
async fn only_the_first_tokens_of_a_part_are_read_if_the_request_says_so() {
    let server = Server::start();
    let tokens = ok(&server, "/tokenize", json!({"prompt": RESPONSE, "add_special_tokens": false})).await;
    let ids = tokens["tokens"].as_array().unwrap();
    let start = ok(&server, "/detokenize", json!({"tokens": ids[..4]})).await["prompt"].clone();
    assert!(RESPONSE.starts_with(start.as_str().unwrap()));
    let short = pair_scores(&server, json!({"text_1": PROMPT, "text_2": start})).await;
    let whole = pair_scores(&server, json!({"text_1": PROMPT, "text_2": RESPONSE})).await;
    assert_ne!(short, whole);
    for (most, expected, cut) in
        [(4, &short, Some(ids.len() - 4)), (ids.len(), &whole, None), (0, &whole, None)]
    {
        let request = json!({"text_1": PROMPT, "text_2": RESPONSE, "max_tokens_per_doc": most});
        let answer = server.ask("/score", request).await;
        assert_eq!(answer.json()["data"][0]["score"], expected[0], "{most}");
        let removed =
            answer.headers.get("x-truncated-tokens").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(removed, cut.map(|count| count.to_string()), "{most}");
    }
    for path in ["/rerank", "/sglang/v1/rerank"] {
        let request = json!({"query": PROMPT, "documents": [RESPONSE], "max_tokens_per_doc": 4});
        let answer = ok(&server, path, request).await;
        let result = answer["results"][0]["relevance_score"].as_f64().or(answer[0]["score"].as_f64());
        assert_eq!(result, Some(short[0]), "{path}");
    }
    let request = json!({"text_1": PROMPT, "text_2": RESPONSE, "max_tokens_per_query": 1});
    assert_ne!(pair_scores(&server, request).await, whole);
    let emoji = json!({"text_1": PROMPT, "text_2": "\u{1f600}\u{1f600}\u{1f600}", "max_tokens_per_doc": 2});
    pair_scores(&server, emoji).await;
}

#[tokio::test]
async fn each_server_ranks_in_its_own_form() {
    let server = Server::start();
    let scores = pair_scores(&server, json!({"text_1": PROMPT, "text_2": DOCUMENTS})).await;
    let mut order: Vec<usize> = (0..DOCUMENTS.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));

    let request = json!({"query": PROMPT, "documents": DOCUMENTS, "return_documents": true, "top_n": 3});
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let answer = ok(&server, path, request.clone()).await;
        for (place, index) in order.iter().take(3).enumerate() {
            let document = json!({"text": DOCUMENTS[*index]});
            let result = json!({"index": index, "relevance_score": scores[*index], "document": document});
            assert_eq!(answer["results"][place], result, "{path}");
        }
    }
    let infinity = ok(&server, "/infinity/rerank", request.clone()).await;
    assert_eq!((&infinity["object"], &infinity["results"][3]), (&json!("rerank"), &Value::Null));
    for (place, index) in order.iter().take(3).enumerate() {
        let result =
            json!({"relevance_score": scores[*index], "index": index, "document": DOCUMENTS[*index]});
        assert_eq!(infinity["results"][place], result);
    }
    let sglang = ok(&server, "/sglang/v1/rerank", request).await;
    for (place, index) in order.iter().take(3).enumerate() {
        assert_eq!(sglang[place]["score"], scores[*index]);
        assert_eq!(
            (&sglang[place]["index"], &sglang[place]["document"]),
            (&json!(index), &json!(DOCUMENTS[*index]))
        );
    }
    let passages: Vec<Value> = DOCUMENTS.iter().map(|text| json!({"text": text})).collect();
    let request = json!({"model": "", "query": {"text": PROMPT}, "passages": passages, "truncate": "END"});
    for (top, kept) in [(json!(null), 4), (json!(0), 4), (json!(2), 2), (json!(9), 4)] {
        let mut request = request.clone();
        request["top_k"] = top;
        let nvidia = ok(&server, "/v1/ranking", request).await;
        assert_eq!(nvidia["rankings"].as_array().unwrap().len(), kept);
        for (place, index) in order.iter().take(kept).enumerate() {
            assert_eq!(nvidia["rankings"][place], json!({"index": index, "logit": scores[*index]}));
        }
    }
    let request = json!({"model": "", "query": {"text": PROMPT}, "passages": [{"text": DOCUMENTS[0]}]});
    let hosted = ok(&server, "/v1/retrieval/nvidia/reward/reranking", request).await;
    assert_eq!(hosted["rankings"], json!([{"index": 0, "logit": scores[0]}]));
    let tei = ok(&server, "/", json!({"query": PROMPT, "texts": DOCUMENTS, "raw_scores": true})).await;
    assert_eq!(tei[0], json!({"index": order[0], "score": scores[order[0]]}));
}

#[tokio::test]
async fn probabilities_of_a_model_with_several_scores_keep_the_order_of_the_one_that_ranks() {
    let server = Server::start();
    let raw = pair_scores(&server, json!({"text_1": PROMPT, "text_2": DOCUMENTS})).await;
    let sigmoid = |score: f64| f64::from((1.0 / (1.0 + (-score).exp())) as f32);
    let request = json!({"query": PROMPT, "documents": DOCUMENTS, "use_activation": true});
    let ranked = ok(&server, "/rerank", request).await;
    let plain = ok(&server, "/rerank", json!({"query": PROMPT, "documents": DOCUMENTS})).await;
    for (probable, plain) in
        ranked["results"].as_array().unwrap().iter().zip(plain["results"].as_array().unwrap())
    {
        let index = probable["index"].as_u64().unwrap() as usize;
        assert_eq!(probable["index"], plain["index"]);
        assert_eq!(probable["relevance_score"], sigmoid(raw[index]));
    }
    let pairs =
        pair_scores(&server, json!({"text_1": PROMPT, "text_2": DOCUMENTS, "use_activation": true})).await;
    assert_eq!(pairs, raw.iter().map(|score| sigmoid(*score)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_may_return_what_its_peers_return_by_default() {
    let plain = Server::start();
    let peer = Server::with(|settings| settings.scoring.activation = RouteActivation::Peer, instant());
    let text = templated(&plain);
    let texts = json!({"query": PROMPT, "texts": DOCUMENTS});
    for (path, open, field, raw, probabilities) in [
        ("/classify", json!({"input": text}), "use_activation", false, true),
        ("/pooling", json!({"input": text}), "use_activation", false, true),
        ("/score", json!({"text_1": "a", "text_2": "b"}), "use_activation", false, true),
        ("/rerank", json!({"query": "a", "documents": ["b", "c"]}), "use_activation", false, true),
        ("/rerank", texts, "raw_scores", true, false),
        ("/predict", json!({"inputs": text}), "raw_scores", true, false),
        ("/infinity/rerank", json!({"query": "a", "documents": ["b"]}), "raw_scores", true, false),
    ] {
        let ask = async |server: &Server, value: Option<bool>| {
            let mut body = open.clone();
            if let Some(value) = value {
                body[field] = json!(value);
            }
            let mut answer = ok(server, path, body).await;
            if let Some(map) = answer.as_object_mut() {
                map.retain(|name, _| name == "data" || name == "results");
            }
            answer
        };
        for server in [&plain, &peer] {
            assert_eq!(ask(server, Some(raw)).await, ask(&plain, None).await, "{path}");
            assert_eq!(ask(server, Some(probabilities)).await, ask(&peer, None).await, "{path}");
        }
        assert_ne!(ask(&plain, None).await, ask(&peer, None).await, "{path}");
    }
    // SGLang and the trainers' routes give raw scores in either case, unless a request asks for others.
    let embedding = async |server: &Server, body: Value| {
        ok(server, "/v1/embeddings", body).await["data"][0]["embedding"].clone()
    };
    let raw = embedding(&plain, json!({"input": text})).await;
    assert_eq!(embedding(&peer, json!({"input": text})).await, raw);
    let probabilities = json!({"input": text, "use_activation": true});
    assert_eq!(embedding(&peer, probabilities.clone()).await, embedding(&plain, probabilities).await);
    let sglang = json!({"text": text});
    assert_eq!(
        ok(&peer, "/classify", sglang.clone()).await["embedding"],
        ok(&plain, "/classify", sglang).await["embedding"]
    );
    let query = json!({"query": [text]});
    assert_eq!(ok(&peer, "/get_reward", query.clone()).await, ok(&plain, "/get_reward", query).await);
}

#[tokio::test]
async fn documents_are_texts_or_objects_with_a_text() {
    let server = Server::start();
    for documents in [
        json!("a"),
        json!(["a"]),
        json!([{"text": "a"}]),
        json!([{"content": [{"type": "text", "text": "a"}]}]),
    ] {
        let request = json!({"query": {"text": PROMPT}, "documents": documents, "rank_fields": ["text"]});
        assert_eq!(ok(&server, "/v2/rerank", request).await["results"][0]["document"], json!({"text": "a"}));
    }
    for (request, words) in [
        (json!({"query": "a", "documents": ["b"], "rank_fields": ["title"]}), "`rank_fields`"),
        (json!({"query": "a", "documents": [{"title": "b"}]}), "`documents[0].text` is missing"),
        (json!({"query": "a", "documents": ["b"], "instruction": "Rank."}), "`instruction`"),
        (
            json!({"query": "a", "documents": ["b"], "documnets": []}),
            "`documnets` is not supported: did you mean",
        ),
    ] {
        let message = refused(&server, "/rerank", request.clone()).await;
        assert!(message.starts_with(words), "{request}: {message}");
    }
}
