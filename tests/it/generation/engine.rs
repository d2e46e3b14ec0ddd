//! The engine's part: the same greedy tokens as transformers, and the same tokens in any batch.

use std::sync::Arc;

use assay::manifest::{Dtype, Task};
use assay::prompt::{EncodeOptions, Message};
use assay::sampling::{Sampled, Sampling};
use assay::scheduler::{Handle, Job, Output, Priority, Work};
use futures_util::future::join_all;

use super::language::{Built, Case, Golden};

const CHECKPOINTS: [&str; 6] =
    ["lm-head-tiny", "qwen3-tiny", "gemma2-tiny", "olmo2-tiny", "granite-tiny", "cohere-tiny"];

async fn generate(handle: &Handle, prompt: &[u32], sampling: Sampling) -> Vec<Sampled> {
    let job = Job { tokens: prompt.into(), work: Work::Generate(Arc::new(sampling)), priority: Priority(0) };
    let mut ticket = handle.submit(job, None).unwrap();
    let mut tokens = Vec::new();
    while let Some(token) = ticket.next_token().await {
        tokens.push(token);
    }
    let Output::Tokens(answer) = ticket.await.unwrap().output else { panic!("an answer of tokens") };
    assert_eq!(answer, tokens.iter().map(|sampled| sampled.token).collect::<Vec<_>>());
    tokens
}

fn cases(golden: Golden) -> impl Iterator<Item = Case> {
    golden.chats.into_iter().chain(golden.texts)
}

#[tokio::test]
async fn greedy_tokens_and_their_log_probabilities_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let built = Built::new(name, Dtype::F32);
        let handle = built.start();
        for case in cases(Golden::read(name)) {
            let sampling = Sampling { logprobs: Some(0), ..Sampling::greedy(case.tokens.len(), Vec::new()) };
            let sampled = generate(&handle, &case.prompt, sampling).await;
            assert_eq!(sampled.iter().map(|token| token.token).collect::<Vec<_>>(), case.tokens, "{name}");
            for (token, expected) in sampled.iter().zip(&case.logprobs) {
                let logprob = token.logprob.unwrap();
                assert!((logprob - expected).abs() < 1e-3, "{name}: {logprob} for {expected}");
            }
        }
    }
}

#[test]
fn prompts_of_chats_and_texts_have_the_ids_of_transformers() {
    for name in CHECKPOINTS {
        let built = Built::new(name, Dtype::F32);
        assert_eq!(built.manifest.task, Task::Chat);
        assert!(!built.manifest.prompt.end_tokens.is_empty());
        let encoder = built.encoder();
        let golden = Golden::read(name);
        for case in golden.chats {
            let text = |turn: &serde_json::Value, field: &str| turn[field].as_str().unwrap().to_owned();
            let turns = case.messages.as_array().unwrap().iter();
            let turns: Vec<_> =
                turns.map(|turn| Message::new(text(turn, "role"), text(turn, "content"))).collect();
            let options = EncodeOptions { add_generation_prompt: true, ..EncodeOptions::default() };
            assert_eq!(encoder.encode(&turns, options).unwrap(), case.prompt, "{name}");
        }
        for case in golden.texts {
            assert_eq!(encoder.encode_completion(&case.text, true).unwrap(), case.prompt, "{name}");
        }
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_tokens_alone_and_among_others_to_the_last_bit() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        if dtype == Dtype::Bf16 && !assay::hardware::Cpu::detect().bf16 {
            continue;
        }
        let built = Built::new("lm-head-tiny", dtype);
        let jobs: Vec<_> = cases(Golden::read("lm-head-tiny"))
            .zip(1..)
            .flat_map(|(case, seed)| [(case.prompt.clone(), seed), (case.prompt, seed + 100)])
            .collect();
        let sampling = |seed| Sampling {
            seed,
            temperature: 1.2,
            top_p: 0.9,
            top_k: 200,
            frequency_penalty: 0.3,
            logprobs: Some(2),
            ..Sampling::greedy(20, Vec::new())
        };
        let mut alone = Vec::new();
        for (prompt, seed) in &jobs {
            alone.push(generate(&built.start(), prompt, sampling(*seed)).await);
        }
        let handle = built.start();
        let together =
            join_all(jobs.iter().map(|(prompt, seed)| generate(&handle, prompt, sampling(*seed)))).await;
        assert_eq!(together, alone);
        assert_ne!(alone[0], alone[1], "another seed gives other tokens");
    }
}

#[test]
fn a_language_model_without_a_template_is_built_for_completion() {
    let built = Built::with("lm-head-tiny", |options| {
        std::fs::remove_file(options.common.model.join("chat_template.jinja")).unwrap();
    });
    assert_eq!(built.manifest.task, Task::Completion);
    let turn = Message::new("user", "Hello");
    let refused = built.encoder().encode(&[turn], EncodeOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("/v1/completions"), "{refused}");
}
