//! Words that models write themselves, such as `<think>` and `<tool_response>`, are the same tokens by every route;
//! tokens that structure conversations are never taken from the text of a message.

use std::path::Path;

use assay::manifest::{ControlTokens, PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};
use assay::prompt::{EncodeOptions, Encoder, Message};
use serde_json::{Value, json};

use super::engines::instant;
use super::server::{MODEL, Server};

/// A server with the tokenizer and a template of Qwen3's form.
fn server(template: Option<&str>) -> Server {
    let mut server = Server::starting(|_| {});
    let qwen3 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prompts/qwen3");
    let directory = server.app.settings.engine.directory.clone();
    for name in [TOKENIZER_FILE, TEMPLATE_FILE] {
        std::fs::copy(qwen3.join(name), directory.join(name)).unwrap();
    }
    if let Some(template) = template {
        std::fs::write(directory.join(TEMPLATE_FILE), template).unwrap();
    }
    server.load(instant());
    server
}

fn encoder(server: &Server, control_tokens: Option<ControlTokens>) -> Encoder {
    let spec = PromptSpec { control_tokens, ..PromptSpec::default() };
    Encoder::open(&server.app.settings.engine.directory, &spec).unwrap()
}

fn conversation(prompt: &str, response: &str) -> [Message; 2] {
    [("user", prompt), ("assistant", response)].map(|(role, content)| Message::new(role, content))
}

async fn answer(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.ask(path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn words_that_models_write_have_one_score_by_every_route() {
    // The second template writes a word of its own only where a response starts.
    let start = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                 {% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}";
    for template in [None, Some(start)] {
        let server = server(template);
        for (prompt, response) in [
            ("2 + 3?", "<think>\na\n</think>\n\nb"),
            ("2 + 3?", "a</think>b"),
            ("2 + 3?", "It opens <think> and ends."),
            ("<tool_response>\n5\n</tool_response>", "Five."),
            ("What does <tool_response> do?", "<tool_call>{}</tool_call><think>"),
            ("</think><think></tool_response>", "</tool_response><think>"),
        ] {
            let messages = conversation(prompt, response);
            let encoder = encoder(&server, None);
            let text = encoder.render(&messages, EncodeOptions::default()).unwrap();
            let ids = encoder.encode(&messages, EncodeOptions::default()).unwrap();
            assert_eq!(ids, encoder.encode_text(&text).unwrap(), "{prompt} {response}");

            let messages =
                json!([{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]);
            let chat = server.chat(json!({"model": MODEL, "messages": messages})).await.json();
            let score = chat["choices"][0]["logprobs"]["content"][0]["logprob"].clone();
            assert!(score.is_number(), "{chat}");
            let rewards = answer(&server, "/v1/rewards", json!({"conversations": [messages]})).await;
            let scores = rewards["data"][0]["scores"].as_object().unwrap();
            assert_eq!(scores.values().next(), Some(&score), "{prompt} {response}");
            let rewards = answer(&server, "/get_reward", json!({"query": [text]})).await;
            assert_eq!(rewards["rewards"][0], score, "{prompt} {response}");
            for input in [json!({"input": text}), json!({"messages": messages}), json!({"input": ids})] {
                let classified = answer(&server, "/classify", input).await;
                assert_eq!(classified["data"][0]["probs"][0], score, "{prompt} {response}");
            }
        }
    }
}

#[tokio::test]
async fn the_manifest_says_which_words_a_text_may_spell() {
    let server = server(None);
    let messages = conversation("<think> <|im_end|>", "x");
    let count = |control_tokens: Option<ControlTokens>| {
        let encoder = encoder(&server, control_tokens);
        let [think, end] = ["<think>", "<|im_end|>"].map(|token| encoder.encode_text(token).unwrap()[0]);
        let ids = encoder.encode(&messages, EncodeOptions::default()).unwrap();
        [think, end].map(|token| ids.iter().filter(|id| **id == token).count())
    };
    // The template writes one `<think>` and two `<|im_end|>`.
    assert_eq!(count(None), [2, 2]);
    assert_eq!(count(Some(ControlTokens::default())), [2, 2]);
    let strict = ControlTokens { structure: vec!["<think>".into()], words: vec![] };
    assert_eq!(count(Some(strict)), [1, 2]);
    let lax = ControlTokens { structure: vec![], words: vec!["<|im_end|>".into()] };
    assert_eq!(count(Some(lax)), [2, 3]);
}
