//! Judges that a file describes, at the build and at serving.

use std::path::Path;

use assay::builder::cpu::CpuBuildOptions;
use assay::manifest::{Dtype, JudgeFile, Task};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::server::{JUDGE, Server, conversation, golden};
use crate::generation::language::Built;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The checkpoint, built into an engine that has only the logits of the judge's answers.
pub(super) fn built_with_judge(checkpoint: &str, judge: &str) -> Result<Built, String> {
    built_as(checkpoint, judge, Dtype::F32)
}

/// The same with another type of weights.
fn built_as(checkpoint: &str, judge: &str, dtype: Dtype) -> Result<Built, String> {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("judge.yaml");
    std::fs::write(&path, judge).unwrap();
    let change = |options: &mut CpuBuildOptions| {
        options.dtype = Some(dtype);
        options.common.checkpoint.head = Some(path);
    };
    Built::try_with(checkpoint, change).map_err(|error| error.to_string())
}

#[tokio::test]
async fn scores_are_those_of_transformers() {
    for checkpoint in ["lm-head-tiny", "qwen3-tiny"] {
        for layout in ["append", "quote"] {
            let judge = format!("{JUDGE}layout: {layout}\n");
            let server = Server::start(checkpoint, Some(&judge));
            for case in golden(checkpoint).iter().filter(|case| case["layout"] == layout) {
                let answer = server.rewards(&json!({"conversations": [case["messages"]]})).await;
                let attribute = case["attribute"].as_str().unwrap();
                let found = &answer["data"][0];
                for (found, expected) in [
                    (&found["scores"][attribute], &case["expectation"]),
                    (&found["answer_mass"][attribute], &case["answer_mass"]),
                ] {
                    let distance = (number(found) - number(expected)).abs();
                    assert!(distance <= 1e-5, "{checkpoint} {case}: {answer}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_prompts_are_those_of_transformers() {
    for checkpoint in ["lm-head-tiny", "qwen3-tiny"] {
        let server = Server::start(checkpoint, None);
        for case in golden(checkpoint).iter().filter(|case| case["layout"] == "append") {
            let ask = if case["attribute"] == "letter" {
                "Which letter is right, a or b?"
            } else {
                "How good is the last answer, from 0 to 4?"
            };
            let mut messages = case["messages"].clone();
            messages.as_array_mut().unwrap().push(json!({"role": "user", "content": ask}));
            let body = json!({"messages": messages, "add_generation_prompt": true});
            let (status, tokens) = server.post("/tokenize", &body).await;
            assert_eq!((status, &tokens["tokens"]), (StatusCode::OK, &case["ids"]), "{checkpoint}");
        }
    }
}

#[tokio::test]
async fn an_engine_with_only_the_answers_logits_scores_as_one_with_the_whole_vocabulary() {
    let built = built_with_judge("lm-head-tiny", JUDGE).unwrap();
    assert_eq!(built.manifest.task, Task::Reward);
    assert_eq!(built.manifest.head.attributes, ["quality", "letter"]);
    assert_eq!(built.manifest.products(), 7);
    let few = Server::on(built, None).unwrap();
    let answer = few.rewards(&json!({"conversations": [conversation("Yes.")]})).await;
    assert!(answer["data"][0].get("answer_mass").is_none(), "{answer}");
}

#[tokio::test]
async fn a_judge_gives_the_same_bits_built_into_an_engine_and_named_at_the_start() {
    let cpu = assay::hardware::Cpu::detect();
    for (dtype, possible) in [(Dtype::F32, true), (Dtype::Bf16, cpu.bf16), (Dtype::Int8, cpu.int8)] {
        for checkpoint in ["lm-head-tiny", "qwen3-tiny", "cohere-norms", "granite-tiny"] {
            if !possible {
                continue;
            }
            let built = Server::on(built_as(checkpoint, JUDGE, dtype).unwrap(), None).unwrap();
            let served = Server::on(Built::new(checkpoint, dtype), Some(JUDGE)).unwrap();
            for answer in ["Yes.", "It keeps keys and values.", &"A long answer. ".repeat(12)] {
                let body = json!({"conversations": [conversation(answer)]});
                let (built, served) = (built.rewards(&body).await, served.rewards(&body).await);
                let scores = |answer: &Value| answer["data"][0]["scores"].clone();
                assert_eq!(scores(&built), scores(&served), "{checkpoint} {dtype}");
            }
        }
    }
}

#[tokio::test]
async fn a_judge_answers_as_any_reward_model_does() {
    let server = Server::start("lm-head-tiny", Some(JUDGE));
    let messages = conversation("It keeps keys and values.");
    let rewards = server.rewards(&json!({"conversations": [messages]})).await;
    let scores = &rewards["data"][0]["scores"];
    let (status, chat) = server.post("/v1/chat/completions", &json!({"messages": messages})).await;
    assert_eq!(status, StatusCode::OK, "{chat}");
    let (quality, letter) = (number(&scores["quality"]), number(&scores["letter"]));
    assert_eq!(chat["choices"][0]["message"]["content"], format!("quality:{quality},letter:{letter}"));
    assert_eq!(chat["usage"]["prompt_tokens"], rewards["usage"]["prompt_tokens"]);
    let prompt = json!([messages[0]]);
    let answers = json!(["It keeps keys and values.", "No idea."]);
    let ranked = server.rewards(&json!({"messages": prompt, "responses": answers})).await;
    assert_eq!(&ranked["data"][0]["scores"], scores, "the score does not depend on the other response");
    assert_eq!(ranked["ranked_by"], "quality");
}

#[tokio::test]
async fn an_alias_has_the_answer_mass_of_its_own_attributes() {
    let server = Server::start("lm-head-tiny", Some(JUDGE));
    let messages = conversation("It keeps keys and values.");
    let whole = server.rewards(&json!({"conversations": [messages]})).await;
    let alias = server.rewards(&json!({"conversations": [messages], "model": "letters"})).await;
    for part in ["scores", "answer_mass"] {
        let expected = json!({"letter": whole["data"][0][part]["letter"]});
        assert_eq!(alias["data"][0][part], expected, "{part}: {alias}");
    }
}

#[tokio::test]
async fn a_question_that_the_engine_cannot_take_is_refused_at_the_build_and_at_the_start() {
    let ask = "Is it so? ".repeat(3000);
    let judge = format!("attributes: {{safe: {{ask: '{ask}', answers: {{a: 1, b: 0}}}}}}");
    let started = Server::on(Built::new("lm-head-tiny", Dtype::F32), Some(&judge)).err().unwrap();
    let built = built_with_judge("lm-head-tiny", &judge).err().unwrap();
    for refused in [started, built] {
        assert!(refused.contains("`attributes.safe.ask` makes a prompt of "), "{refused}");
    }
}

#[test]
fn answers_of_several_tokens_are_refused_at_the_build_and_at_the_start() {
    let judge = "attributes: {tone: {ask: How is it?, answers: {excellent: 1, a: 0}}}";
    let refused = built_with_judge("lm-head-tiny", judge).err().unwrap();
    let expected = "`attributes.tone.answers` has the answer \"excellent\", which is not one token";
    assert!(refused.contains(expected), "{refused}");
    assert!(refused.contains("\"ex") || refused.contains("\"e\""), "{refused}");
    let started = Server::on(Built::new("lm-head-tiny", Dtype::F32), Some(judge)).err().unwrap();
    assert!(started.contains(expected), "{started}");
}

#[test]
fn a_judge_needs_a_language_model() {
    let judge = "attributes: {safe: {ask: Is it?, answers: {a: 1, b: 0}}}";
    let reward = built_with_judge("lm-head-tiny", judge).unwrap();
    let refused = Server::on(reward, Some(judge)).err().unwrap();
    assert!(refused.contains("this engine was built with a judge of its own"), "{refused}");
    assert!(refused.contains("build the engine without --head"), "{refused}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "rows: [0]").unwrap();
    let head = |options: &mut CpuBuildOptions| options.common.checkpoint.head = Some(file.path().to_owned());
    let refused = Server::on(Built::with("lm-head-tiny", head), Some(judge)).err().unwrap();
    assert!(refused.contains("judge: this engine is a reward model"), "{refused}");
}

#[test]
fn a_file_that_is_empty_or_misspelt_is_not_taken_for_rows() {
    for (judge, expected) in [
        ("", "it is empty: describe a head, or a judge by its `attributes`"),
        ("# attributes:\n", "it is empty"),
        ("attributes: [safe, polite]\n", "for a judge, make `attributes` a map from the names of scores"),
        ("attribute: {safe: {ask: Is it?}}\n", "`attribute` is there: is it a misspelling?"),
        ("attributes: {weighted: {ask: Is it?}}\n", "is `weighted`, the name of the weighted sum"),
    ] {
        let refused = built_with_judge("lm-head-tiny", judge).err().unwrap();
        assert!(refused.contains("judge.yaml") && refused.contains(expected), "{judge}: {refused}");
    }
    let served = Server::on(Built::new("lm-head-tiny", Dtype::F32), Some("")).err().unwrap();
    assert!(served.contains("it is empty: give `attributes`, a map from the names of scores"), "{served}");
}

#[test]
fn the_examples_are_judges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/judges");
    let mut questions = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let file = JudgeFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
            questions += file.judge.questions.len();
        }
    }
    assert_eq!(questions, 18);
}

#[test]
fn a_mistake_in_a_judges_file_is_reported_with_its_line_and_field() {
    for (judge, expected) in [
        (
            "attributes:\n  safe:\n    ask: Is it?\n    think: 5\n",
            ":4: `attributes.safe.think` is not supported",
        ),
        ("attributes:\n  safe:\n    answers: {a: 1, b: 0}\n", ":3: `attributes.safe.ask` is missing"),
        ("attributes:\n  safe: {ask: Is it?, answers: {a: 1, b: 0}\n", "it is not YAML"),
        ("attributes:\n- {name: safe, ask: Is it?}\n", "`attributes` must be a map"),
    ] {
        let built = built_with_judge("lm-head-tiny", judge).err().unwrap();
        let started = Server::on(Built::new("lm-head-tiny", Dtype::F32), Some(judge)).err().unwrap();
        for refused in [built, started] {
            assert!(refused.contains("judge.yaml") && refused.contains(expected), "{judge}: {refused}");
        }
    }
}
