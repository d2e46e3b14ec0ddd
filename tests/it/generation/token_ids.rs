//! Token ids of chats, as vLLM returns them.

use serde_json::{Value, json};

use super::language::Server;

const CHAT: &str = "/v1/chat/completions";

fn chat(return_token_ids: bool, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "What is 1 + 1?"}]);
    json!({
        "messages": messages, "max_tokens": 12, "temperature": 0,
        "return_token_ids": return_token_ids, "stream": stream,
    })
}

#[tokio::test]
async fn a_chat_has_the_ids_of_its_prompt_and_of_its_answer() {
    let server = Server::start("lm-head-tiny");
    let wanted = chat(true, false);
    let answer = server.ask(CHAT, &wanted).await.json();
    let prompt = server.ask("/tokenize", &json!({"messages": wanted["messages"]})).await.json();
    assert_eq!(answer["prompt_token_ids"], prompt["tokens"]);
    let ids = answer["choices"][0]["token_ids"].as_array().unwrap();
    assert_eq!(ids.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());

    let plain = server.ask(CHAT, &chat(false, false)).await.json();
    assert!(plain.get("prompt_token_ids").is_none() && plain["choices"][0].get("token_ids").is_none());
    assert_eq!(plain["choices"][0]["message"], answer["choices"][0]["message"]);

    let (mut prompts, mut joined) = (Vec::new(), Vec::new());
    for chunk in server.ask(CHAT, &chat(true, true)).await.chunks() {
        prompts.extend(chunk.get("prompt_token_ids").cloned());
        joined.extend(chunk["choices"][0]["token_ids"].as_array().into_iter().flatten().cloned());
    }
    assert_eq!(prompts, [prompt["tokens"].clone()]);
    assert_eq!(&joined, ids);
}
