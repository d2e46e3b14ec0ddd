//! Routes of trainers and other servers: what each reads, what each answers, and that all give a
//! conversation the same score.

use assay::prompt::{EncodeOptions, Encoder, Message};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::engines::instant;
use super::server::{ATTRIBUTES, MODEL, Server, manifest, paris};

pub(super) const PROMPT: &str = "I am going to Paris, what should I see?";
pub(super) const RESPONSE: &str = "The Louvre, and the Seine by night.";

pub(super) fn encoder(server: &Server) -> Encoder {
    Encoder::open(&server.app.settings.engine.directory, &manifest().prompt).unwrap()
}

pub(super) fn conversation() -> [Message; 2] {
    [("user", PROMPT), ("assistant", RESPONSE)].map(|(role, content)| Message::new(role, content))
}

/// The text that a trainer's tokenizer makes of the conversation.
pub(super) fn templated(server: &Server) -> String {
    encoder(server).render(&conversation(), EncodeOptions::default()).unwrap()
}

pub(super) async fn ok(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.ask(path, body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{path} {body}: {}", answer.text);
    answer.json()
}

pub(super) async fn refused(server: &Server, path: &str, body: Value) -> String {
    let answer = server.ask(path, body.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}: {}", answer.text);
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

/// The scores as `/v1/chat/completions` gives them.
pub(super) async fn scores(server: &Server) -> Vec<Value> {
    let answer = server.chat(paris()).await.json();
    let logprobs = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    logprobs.iter().map(|entry| entry["logprob"].clone()).collect()
}

#[tokio::test]
async fn a_conversation_has_the_same_scores_by_every_route() {
    let server = Server::start();
    let scores = scores(&server).await;
    let text = templated(&server);
    let bare = text.strip_prefix("<|begin_of_text|>").unwrap();
    let ids = encoder(&server).encode(&conversation(), EncodeOptions::default()).unwrap();
    let messages = paris()["messages"].clone();
    let answer_of_a_pair = text.rsplit_once(RESPONSE).unwrap();
    let (head, tail) = (answer_of_a_pair.0, format!("{RESPONSE}{}", answer_of_a_pair.1));

    for input in [json!(text), json!(bare), json!([text]), json!(ids), json!([ids])] {
        let classify = ok(&server, "/classify", json!({"model": MODEL, "input": input})).await;
        assert_eq!(classify["data"][0]["probs"], json!(scores), "{input}");
        assert_eq!(classify["data"][0]["num_classes"], 5);
    }
    for (path, place) in [
        ("/classify", "/data/0/probs"),
        ("/pooling", "/data/0/data/0"),
        ("/v1/embeddings", "/data/0/embedding"),
        ("/v1/reward", "/data/0/score"),
        ("/v1/chat/reward", "/data/0/score"),
    ] {
        for request in [json!({"input": bare}), json!({"messages": messages})] {
            let answer = ok(&server, path, request).await;
            assert_eq!(answer.pointer(place), Some(&json!(scores)), "{path}");
        }
    }
    let rewards = ok(&server, "/get_reward", json!({"query": [text, bare]})).await;
    assert_eq!(
        rewards,
        json!({"rewards": [scores[0], scores[0]], "scores": [scores[0], scores[0]], "extra_logs": {}})
    );
    for prompt in [json!(PROMPT), json!([messages[0]]), json!(head)] {
        let response = if prompt == json!(head) { tail.as_str() } else { RESPONSE };
        let reward = ok(&server, "/slime/reward", json!({"prompt": prompt, "response": response})).await;
        assert_eq!(
            reward,
            json!(ATTRIBUTES.iter().zip(&scores).collect::<std::collections::HashMap<_, _>>())
        );
    }
    for inputs in [json!(text), json!([bare]), json!([PROMPT, RESPONSE])] {
        let predictions = ok(&server, "/predict", json!({"inputs": inputs, "raw_scores": true})).await;
        for (name, score) in ATTRIBUTES.iter().zip(&scores) {
            let of = predictions.as_array().unwrap().iter().find(|prediction| prediction["label"] == *name);
            assert_eq!(&of.unwrap()["score"], score);
        }
    }
    for path in ["/rerank", "/v1/rerank"] {
        let ranked = ok(&server, path, json!({"query": PROMPT, "documents": [RESPONSE]})).await;
        assert_eq!(ranked["results"][0]["relevance_score"], scores[0]);
        let ranks = ok(&server, path, json!({"query": PROMPT, "texts": [RESPONSE]})).await;
        assert_eq!(ranks, json!([{"index": 0, "score": scores[0]}]));
    }
    let rewards = ok(&server, "/v1/rewards", json!({"conversations": [messages]})).await;
    assert_eq!(
        rewards["data"][0]["scores"].as_object().unwrap().values().cloned().collect::<Vec<_>>(),
        scores
    );
}

#[tokio::test]
async fn a_model_of_one_score_answers_slime_with_a_number() {
    let server =
        Server::with(|settings| settings.server.alias = vec!["one=verbosity".parse().unwrap()], instant());
    let scores = scores(&server).await;
    let request = json!({"model": "one", "prompt": PROMPT, "response": RESPONSE, "label": null});
    assert_eq!(ok(&server, "/slime/reward", request).await, scores[4]);
    let request = json!({"model": "one", "query": [templated(&server)], "prompts": ["x"], "labels": [3]});
    assert_eq!(ok(&server, "/get_reward", request).await["rewards"], json!([scores[4]]));
}

#[tokio::test]
async fn probabilities_are_returned_on_request_and_that_of_one_score_is_not_a_softmax() {
    let server =
        Server::with(|settings| settings.server.alias = vec!["one=verbosity".parse().unwrap()], instant());
    let scores = scores(&server).await;
    let text = templated(&server);
    let raw = ok(&server, "/classify", json!({"input": text, "use_activation": false})).await;
    assert_eq!(raw["data"][0]["probs"], json!(scores));
    let shares = ok(&server, "/classify", json!({"input": text, "use_activation": true})).await;
    let shares: Vec<f64> = serde_json::from_value(shares["data"][0]["probs"].clone()).unwrap();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{shares:?}");
    let sigmoid = (1.0 / (1.0 + (-scores[4].as_f64().unwrap()).exp())) as f32;
    for (path, request, place) in [
        ("/classify", json!({"model": "one", "input": text, "use_activation": true}), "/data/0/probs/0"),
        ("/predict", json!({"model": "one", "inputs": text, "raw_scores": false}), "/0/score"),
    ] {
        let one = ok(&server, path, request).await;
        assert_eq!(one.pointer(place).unwrap().as_f64().unwrap() as f32, sigmoid);
    }
}

#[tokio::test]
async fn responses_are_ranked_the_best_first_and_sent_back_if_asked() {
    let server = Server::start();
    let documents = ["a", "b", "c", "d"];
    let request = json!({"query": PROMPT, "documents": documents, "top_n": 3});
    let results = ok(&server, "/rerank", request).await["results"].clone();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 3);
    let score = |result: &Value| result["relevance_score"].as_f64().unwrap();
    assert!(results.is_sorted_by(|a, b| score(a) >= score(b)));
    for result in results {
        let index = result["index"].as_u64().unwrap() as usize;
        assert_eq!(result["document"]["text"], documents[index]);
    }
    let bare = json!({"query": PROMPT, "documents": [{"text": "a"}], "return_documents": false});
    assert!(ok(&server, "/rerank", bare).await["results"][0].get("document").is_none());
    let texts = json!({"query": PROMPT, "texts": documents, "return_text": true, "truncate": true});
    let ranks = ok(&server, "/rerank", texts).await;
    assert_eq!(ranks[0]["score"].as_f64(), Some(score(&results[0])));
    assert_eq!(ranks[0]["text"], results[0]["document"]["text"]);
}

#[tokio::test]
async fn a_batch_of_pairs_is_answered_by_a_list_for_each() {
    let server = Server::start();
    let inputs = json!([[PROMPT, RESPONSE], [templated(&server)]]);
    let lists = ok(&server, "/predict", json!({"inputs": inputs})).await;
    assert_eq!(lists.as_array().unwrap().len(), 2);
    assert_eq!(lists[0], lists[1]);
    let score = |prediction: &Value| prediction["score"].as_f64().unwrap();
    assert!(lists[0].as_array().unwrap().is_sorted_by(|a, b| score(a) >= score(b)));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_as_its_server_has_it_and_headers_say_so() {
    let server = Server::start();
    let long = templated(&server).replace(RESPONSE, &"and more ".repeat(300));
    assert!(refused(&server, "/classify", json!({"input": long})).await.contains("length is 256 tokens"));
    for (path, request) in [
        ("/classify", json!({"input": long, "truncate_prompt_tokens": -1})),
        ("/predict", json!({"inputs": long, "truncate": true})),
        ("/get_reward", json!({"query": [long], "truncation": "left"})),
    ] {
        let answer = server.ask(path, request).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        assert!(answer.headers.contains_key("x-truncated-tokens"), "{path}");
    }
    let few = ok(&server, "/classify", json!({"input": long, "truncate_prompt_tokens": 20})).await;
    assert_eq!(few["usage"]["prompt_tokens"], 20);
}

#[tokio::test]
async fn what_a_route_cannot_do_is_refused_by_name() {
    let server = Server::with(|settings| settings.server.max_request_items = 2, instant());
    for (path, request, words) in [
        ("/get_reward", json!({}), "`query` is missing"),
        ("/get_reward", json!({"query": "text"}), "`query` must be a list"),
        ("/get_reward", json!({"query": ["a", 7]}), "`query[1]` must be a string"),
        ("/get_reward", json!({"query": ["a", "b", "c"]}), "takes 2 in a call"),
        ("/get_reward", json!({"query": ["a", "more ".repeat(300)]}), "`query[1]`: the text has"),
        ("/slime/reward", json!({"prompt": PROMPT}), "`response` is missing"),
        ("/slime/reward", json!({"prompt": 7, "response": ""}), "`prompt` must be a string or a list"),
        ("/classify", json!({}), "`input` is missing"),
        ("/classify", json!({"input": []}), "`input` is empty"),
        ("/classify", json!({"input": [1, 640]}), "`input[1]` is 640"),
        ("/classify", json!({"input": [[1], [-1]]}), "`input[1][0]` is -1"),
        ("/classify", json!({"input": "a", "add_generation_prompt": true}), "`add_generation_prompt`"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": 2}), "`dimensions` is not supported"),
        ("/predict", json!({"inputs": [["a", "b", "c"]]}), "`inputs[0]` must be one text or two"),
        ("/rerank", json!({"query": "a"}), "`documents` is missing"),
        ("/rerank", json!({"query": "a", "documents": [7]}), "`documents[0]` must be a string"),
        ("/rerank", json!({"query": "a", "documents": ["b"], "top_n": -1}), "`top_n`"),
        ("/v1/reward", json!({"messages": [{"role": 5, "content": ""}]}), "`messages[0].role`"),
    ] {
        let message = refused(&server, path, request.clone()).await;
        assert!(message.contains(words), "{path} {request}: {message}");
    }
    let unknown = server.ask("/classify", json!({"model": "other", "input": "a"})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn several_text_parts_are_lines_of_one_text_on_every_route() {
    let server = Server::start();
    let messages = |content: Value| json!([{"role": "user", "content": PROMPT}, {"role": "assistant", "content": content}]);
    let parts = json!([{"type": "text", "text": "The Louvre"}, {"type": "text", "text": "and the Seine"}]);
    let text = json!("The Louvre\nand the Seine");
    let probs = async |content: &Value| {
        ok(&server, "/classify", json!({"messages": messages(content.clone())})).await["data"][0]["probs"]
            .clone()
    };
    let expected = probs(&text).await;
    assert_eq!(probs(&parts).await, expected);
    let cached = json!([{"type": "text", "text": "The Louvre\nand the Seine", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(probs(&cached).await, expected);
    for others in [
        json!(["The Louvre", "and the Seine"]),
        json!([{"type": "output_text", "text": "The Louvre"}, {"type": "input_text", "text": "and the Seine"}]),
        json!([{"type": "text", "text": "The Louvre"}, {"type": "refusal", "refusal": "and the Seine"}]),
    ] {
        assert_eq!(probs(&others).await, expected, "{others}");
    }
    let output = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let rollout = json!({
        "responses_create_params": {"input": PROMPT},
        "response": {"output": [
            {"type": "message", "role": "assistant", "content": [output("The Louvre"), output("and the Seine")]}
        ]}
    });
    assert_eq!(ok(&server, "/verify", rollout).await["reward"], expected[0]);
    let scored = ok(&server, "/score", json!({"text_1": PROMPT, "text_2": {"content": parts}})).await;
    assert_eq!(scored["data"][0]["score"], expected[0]);
}

#[tokio::test]
async fn probabilities_of_attributes_do_not_depend_on_their_weighted_sum() {
    let plain = Server::start();
    let weighted = Server::with(
        |settings| {
            settings.scoring.score_weights =
                ["helpfulness=0.5", "correctness=0.5"].map(|weight| weight.parse().unwrap()).into()
        },
        instant(),
    );
    let body = json!({"input": templated(&plain), "use_activation": true});
    let of = async |server: &Server, path: &str, place: &str| {
        ok(server, path, body.clone()).await.pointer(place).unwrap().as_array().unwrap().clone()
    };
    for (path, place) in [
        ("/classify", "/data/0/probs"),
        ("/pooling", "/data/0/data/0"),
        ("/v1/embeddings", "/data/0/embedding"),
    ] {
        let found = of(&weighted, path, place).await;
        assert_eq!(found[..5], of(&plain, path, place).await, "{path}");
        let sum = found[5].as_f64().unwrap();
        let raw = ok(&weighted, path, json!({"input": templated(&plain)})).await;
        let raw = raw.pointer(place).unwrap()[5].as_f64().unwrap();
        assert!((sum - 1.0 / (1.0 + (-raw).exp())).abs() < 1e-6, "{path}: {sum} of {raw}");
    }
}

#[tokio::test]
async fn a_text_with_the_template_applied_is_scored_as_it_ends() {
    let server = Server::start();
    let text = templated(&server);
    let open = text.strip_suffix("<|eot_id|>").unwrap();
    let rewards = ok(&server, "/get_reward", json!({"query": [text, open]})).await["rewards"].clone();
    assert_ne!(rewards[0], rewards[1]);
    let exact = ok(&server, "/classify", json!({"input": text, "add_special_tokens": false})).await;
    assert_eq!(exact["data"][0]["probs"][0], rewards[0]);
}

#[tokio::test]
async fn a_field_that_cannot_be_honoured_is_named() {
    let server = Server::start();
    let text = templated(&server);
    for (path, body, words) in [
        (
            "/v1/ranking",
            json!({"query": {"text": "a", "image": "x"}, "passages": [{"text": "b"}]}),
            "`query.image` is not supported: only `text` is read",
        ),
        (
            "/v1/ranking",
            json!({"query": {"text": "a"}, "passages": [{"text": "b", "image": "x"}]}),
            "`passages[0].image` is not supported",
        ),
        (
            "/rerank",
            json!({"query": "a", "documents": [{"text": "b", "txt": "c"}]}),
            "`documents[0].txt` is not supported: did you mean `text`?",
        ),
        (
            "/score",
            json!({"text_1": "a", "text_2": {"content": "b", "images": []}}),
            "`text_2.images` is not supported: only `content` is read",
        ),
        (
            "/classify",
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "image": "x"}]}]}),
            "`messages[0].content[0].image` is not supported: only the text of a part is read",
        ),
        (
            "/v1/score",
            json!({"text_1": "a", "text_2": "b", "return_pooled_hidden_states": true}),
            "`return_pooled_hidden_states` is not supported: the response has scores only",
        ),
        (
            "/classify",
            json!({"input": "a", "truncation": "right", "truncate_prompt_tokens": 4}),
            "`truncation` cannot be combined with `truncate_prompt_tokens`",
        ),
        ("/predict", json!({"inputs": [["a", 5]]}), "`inputs[0][1]` must be a string, not 5"),
        ("/predict", json!({"inputs": [["a", "b", "c"]]}), "`inputs[0]` must be one text or two in a list"),
        ("/classify", json!({"text": [["a", 5]]}), "`text[0][1]` must be a string, not 5"),
        ("/rerank", json!({"documents": ["a"]}), "`query` is missing or null: send a string, or an object"),
        (
            "/slime/reward",
            json!({"response": "a"}),
            "`prompt` is missing or null: send a string or a list of messages",
        ),
        ("/verify", json!({"responses_create_params": {}}), "`response` is missing or null: send an object"),
        ("/", json!({"foo": 1}), "`inputs` is missing"),
        ("/invocations", json!({"foo": 1}), "`messages` is missing"),
        ("/v1/score/evaluation", json!({"messages": ["a"], "max_length": 0}), "`max_length` is 0"),
        (
            "/get_reward",
            json!({"query": [text.replace(RESPONSE, &"more ".repeat(300))], "truncation": "oldest_turns"}),
            "`query[0]`: the text has",
        ),
    ] {
        let message = refused(&server, path, body.clone()).await;
        assert!(message.starts_with(words), "{path} {body}: {message}");
        assert!(!words.ends_with("has") || message.ends_with("set `truncation` to `left`"), "{message}");
    }
    let body = json!({"text_1": "a", "text_2": "b", "return_pooled_hidden_states": false});
    ok(&server, "/v1/score", body).await;
}

#[tokio::test]
async fn a_limit_of_llama_factory_keeps_the_start_of_a_text() {
    let server = Server::start();
    let text = templated(&server);
    let scores = async |path: &str, body: Value| ok(&server, path, body).await;
    let cut = scores("/v1/score/evaluation", json!({"messages": [text], "max_length": 5})).await;
    let kept = json!({"input": text, "truncate_prompt_tokens": 5, "truncation_side": "right"});
    assert_eq!(cut["scores"][0], scores("/classify", kept).await["data"][0]["probs"][0]);
}

#[tokio::test]
async fn numbers_that_json_does_not_have_are_named_with_their_place() {
    let server = Server::start();
    for (body, words) in [
        ("{\"query\": [\"hi\"],\n \"labels\": [NaN]}", "NaN at line 2 column 13, which Python writes"),
        ("{\"query\": [\"hi\"], \"labels\": Infinity}", "Infinity at line 1 column 29"),
        ("{\"query\": [\"hi\"], \"labels\": [-Infinity]}", "Infinity at line 1 column 31"),
    ] {
        for path in ["/get_reward", "/invocations"] {
            let request = Request::post(path).body(Body::from(body)).unwrap();
            let answer = server.send(request).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains(words), "{path} {body}: {message}");
        }
    }
}
