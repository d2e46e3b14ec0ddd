//! Where the prompt of a conversation ends: `add_generation_prompt` and `continue_final_message`.

use assay::prompt::EncodeOptions;
use serde_json::{Value, json};

use super::compat::{conversation, encoder, ok, refused};
use super::server::{Server, paris};

const ENDS: [EncodeOptions; 3] = [
    EncodeOptions { add_generation_prompt: false, continue_final_message: false, variables: None },
    EncodeOptions { add_generation_prompt: true, continue_final_message: false, variables: None },
    EncodeOptions { add_generation_prompt: false, continue_final_message: true, variables: None },
];

fn request(options: EncodeOptions) -> Value {
    let EncodeOptions { add_generation_prompt, continue_final_message, .. } = options;
    json!({
        "messages": paris()["messages"],
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": continue_final_message,
    })
}

#[tokio::test]
async fn every_route_of_a_conversation_scores_the_prompt_that_was_asked_for() {
    let server = Server::start();
    let mut seen = Vec::new();
    for options in ENDS {
        let ids = encoder(&server).encode(&conversation(), options).unwrap();
        let expected = ok(&server, "/classify", json!({"input": ids})).await["data"][0]["probs"].clone();
        let request = request(options);
        let (tokens, usage) = (json!(ids.len()), |answer: &Value| answer["usage"]["prompt_tokens"].clone());
        let classified = ok(&server, "/classify", request.clone()).await;
        assert_eq!((&classified["data"][0]["probs"], usage(&classified)), (&expected, tokens.clone()));
        let pooled = ok(&server, "/pooling", request.clone()).await;
        assert_eq!((&pooled["data"][0]["data"][0], usage(&pooled)), (&expected, tokens.clone()));
        let embedded = ok(&server, "/v1/embeddings", request.clone()).await;
        assert_eq!((&embedded["data"][0]["embedding"], usage(&embedded)), (&expected, tokens.clone()));
        let rewarded = ok(&server, "/v1/reward", request.clone()).await;
        assert_eq!((&rewarded["data"][0]["score"], usage(&rewarded)), (&expected, tokens.clone()));
        let chat = ok(&server, "/v1/chat/completions", request.clone()).await;
        assert_eq!(chat["choices"][0]["logprobs"]["content"][0]["logprob"], expected[0]);
        assert_eq!(usage(&chat), tokens);
        let mut whole = request.clone();
        whole["conversations"] = json!([whole["messages"].take()]);
        let whole = ok(&server, "/v1/rewards", whole).await;
        assert_eq!(whole["data"][0]["scores"]["helpfulness"], expected[0]);
        assert_eq!(ok(&server, "/tokenize", request).await["tokens"], json!(ids));
        assert!(!seen.contains(&tokens), "{seen:?}");
        seen.push(tokens);
    }
}

#[tokio::test]
async fn both_ends_of_a_prompt_at_once_or_any_of_a_text_are_refused() {
    let server = Server::start();
    let both =
        request(EncodeOptions { add_generation_prompt: true, continue_final_message: true, variables: None });
    for path in ["/classify", "/pooling", "/v1/embeddings", "/v1/chat/completions", "/tokenize"] {
        let message = refused(&server, path, both.clone()).await;
        assert!(
            message.starts_with("`continue_final_message` cannot be combined with `add_generation_prompt`"),
            "{message}"
        );
    }
    for name in ["add_generation_prompt", "continue_final_message"] {
        let message = refused(&server, "/classify", json!({"input": "a", name: true})).await;
        assert!(message.starts_with(&format!("`{name}` is not supported")), "{message}");
        let message =
            refused(&server, "/pooling", json!({"messages": paris()["messages"], name: "often"})).await;
        assert!(message.starts_with(&format!("`{name}` must be true or false")), "{message}");
    }
}
