//! Process reward models whose steps are encoded one by one have the ids and scores of the code that they come with.

use std::path::Path;

use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::engine::EngineOptions;
use assay::manifest::Dtype;
use assay::prompt::{EncodeOptions, Encoder, Fit, Message, Prompt, Truncation};
use assay::reward::Head;
use serde::Deserialize;

use crate::support::Driver;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    steps: Vec<String>,
    ids: Vec<u32>,
    ends: Vec<usize>,
    scores: Vec<f32>,
}

const WHOLE: Fit = Fit { limit: 400, truncation: Truncation::Error };

struct Model {
    encoder: Encoder,
    head: Head,
    driver: Driver,
    cases: Vec<Case>,
    _directory: tempfile::TempDir,
}

impl Model {
    fn of(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let golden = std::fs::read(root.join(format!("golden/steps/{name}.json"))).unwrap();
        let golden: Golden = serde_json::from_slice(&golden).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("engine");
        let mut options = CpuBuildOptions::new(root.join("checkpoints").join(name), &output);
        options.dtype = Some(Dtype::F32);
        options.common.max_seq_len = Some(WHOLE.limit);
        let manifest = build(&options, &Silent).unwrap();
        Self {
            encoder: Encoder::open(&output, &manifest.prompt).unwrap(),
            head: Head::new(&manifest.head),
            driver: Driver::start(&output, &manifest, EngineOptions::default()),
            cases: golden.cases,
            _directory: directory,
        }
    }

    fn encode(&self, prompt: &str, answer: &str, fit: Fit) -> Prompt {
        let turns = [Message::new("user", prompt), Message::new("assistant", answer)];
        self.encoder.encode_within(&turns, EncodeOptions::default(), fit).unwrap()
    }
}

fn steps_are_those_of_the_models_own_code(name: &str) {
    let mut model = Model::of(name);
    assert!(model.head.encodes_steps());
    for case in std::mem::take(&mut model.cases) {
        let answer = case.steps.join("\n");
        let Prompt { tokens, step_ends, .. } = model.encode(&case.prompt, &answer, WHOLE);
        let ends = step_ends.unwrap();
        assert_eq!((&tokens, &ends), (&case.ids, &case.ends), "{name}: {answer:?}");
        let closed = model.encode(&case.prompt, &format!("{answer}\n"), WHOLE);
        assert_eq!(closed.tokens, tokens, "{name}: a line break after the last step is no further step");

        let outputs = model.driver.read(&tokens, &ends);
        let scores = model.head.scores(&outputs).unwrap();
        assert_eq!(scores.pairs.len(), case.scores.len());
        for ((step, score), expected) in scores.pairs.iter().zip(&case.scores) {
            assert!(
                (score - expected).abs() <= 1e-5,
                "{name}: {step} of {answer:?}: {score}, not {expected}"
            );
        }
    }
}

#[test]
fn skyworks_steps_are_those_of_its_published_code() {
    steps_are_those_of_the_models_own_code("skywork-prm-tiny");
}

#[test]
fn steps_of_trls_trainer_are_those_that_it_trains_on() {
    steps_are_those_of_the_models_own_code("trl-prm-tiny");
}

#[test]
fn steps_that_are_cut_off_are_not_read() {
    let model = Model::of("skywork-prm-tiny");
    let case = &model.cases[0];
    let answer = case.steps.join("\n");
    let right = Fit { limit: case.ids.len() - 1, truncation: Truncation::Right };
    let cut = model.encode(&case.prompt, &answer, right);
    assert_eq!(cut.step_ends.unwrap(), case.ends[..1]);
    let left = Fit { limit: case.ids.len() - 2, truncation: Truncation::Left };
    let cut = model.encode(&case.prompt, &answer, left);
    let shifted: Vec<usize> = case.ends.iter().map(|end| end - 2).collect();
    assert_eq!(cut.step_ends.unwrap(), shifted);
}

#[test]
fn a_conversation_without_steps_says_what_to_send() {
    let model = Model::of("trl-prm-tiny");
    let refused = |turns: &[Message], options| {
        model.encoder.encode_within(turns, options, WHOLE).unwrap_err().to_string()
    };
    let user = Message::new("user", "2 + 3?");
    for turns in [
        vec![user.clone()],
        vec![Message::new("assistant", "5")],
        vec![user.clone(), Message::new("assistant", "")],
    ] {
        let sentence = refused(&turns, EncodeOptions::default());
        assert!(sentence.contains("assistant's turn with the steps"), "{sentence}");
    }
    let continued = EncodeOptions { continue_final_message: true, ..EncodeOptions::default() };
    let sentence = refused(&[user, Message::new("assistant", "5")], continued);
    assert!(sentence.contains("continue_final_message"), "{sentence}");
}
