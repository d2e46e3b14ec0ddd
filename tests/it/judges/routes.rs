//! What a judge's questions about one conversation share, and that their scores do not depend on company.

use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation};

/// A judge of ten questions.
fn ten() -> String {
    let mut judge = String::from("attributes:\n");
    for number in 0..10 {
        judge += &format!("  q{number}: {{ask: 'Is it number {number}?', answers: {{a: 1, b: 0}}}}\n");
    }
    judge
}

fn one(number: usize) -> String {
    format!("attributes:\n  q{number}: {{ask: 'Is it number {number}?', answers: {{a: 1, b: 0}}}}\n")
}

#[tokio::test]
async fn answers_by_another_question_have_another_digest() {
    let digest = async |judge| Server::start("lm-head-tiny", judge).digest().await;
    let other = JUDGE.replacen("How good", "How bad", 1);
    assert_ne!(other, JUDGE);
    let [first, again, other, none] = [
        digest(Some(JUDGE)).await,
        digest(Some(JUDGE)).await,
        digest(Some(&other)).await,
        digest(None).await,
    ];
    assert_eq!(first, again);
    assert!(first != other && first != none && other != none, "{first} {other} {none}");
}

#[tokio::test]
async fn ten_questions_compute_their_conversation_once() {
    let messages = conversation(&"It keeps keys and values. ".repeat(10));
    let whole = Server::start("lm-head-tiny", None);
    let (_, tokens) =
        whole.post("/tokenize", &json!({"messages": messages, "add_generation_prompt": false})).await;
    let conversation = tokens["count"].as_u64().unwrap() as usize;
    assert!(conversation > 250, "{tokens}");
    let usage = async |judge: &str| {
        let server = Server::start("lm-head-tiny", Some(judge));
        let answer = server.rewards(&json!({"conversations": [messages]})).await;
        let count = |field: &str| answer["usage"][field].as_u64().unwrap() as usize;
        (count("prompt_tokens"), count("cached_tokens"))
    };
    let ((one, cached), (all, shared)) = (usage(&one(0)).await, usage(&ten()).await);
    assert_eq!(cached, 0);
    assert_eq!(all, 10 * one, "the questions have the same length");
    // Blocks of 16 tokens are shared, so the last few tokens of the conversation are computed with each question.
    let question = one - conversation / 16 * 16;
    assert!(all - shared <= one + 9 * question, "{} of {all} were computed", all - shared);
}

#[tokio::test]
async fn a_score_has_the_same_bits_alone_and_among_others() {
    let all = Server::start("lm-head-tiny", Some(&ten()));
    let answers: Vec<String> = (0..6).map(|count| "keys and values ".repeat(count + 1)).collect();
    let body = json!({"messages": [conversation("")[0]], "responses": answers});
    let together = all.rewards(&body).await;
    for number in [0, 7] {
        let name = format!("q{number}");
        let alone = Server::start("lm-head-tiny", Some(&one(number)));
        for (index, answer) in answers.iter().enumerate() {
            let answer = alone.rewards(&json!({"conversations": [conversation(answer)]})).await;
            let bits = |value: &Value| value["scores"][&name].as_f64().unwrap().to_bits();
            assert_eq!(bits(&answer["data"][0]), bits(&together["data"][index]), "{name} {index}");
        }
    }
}
