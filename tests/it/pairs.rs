//! Prompts of encoders have the ids that transformers' tokenizers give for pairs of texts.

use std::path::Path;

use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::prompt::{EncodeOptions, Encoder, Message};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pairs {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    messages: Vec<Turn>,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

fn pairs_are_those_of_transformers(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let golden = std::fs::read(root.join(format!("golden/pairs/{name}.json"))).unwrap();
    let golden: Pairs = serde_json::from_slice(&golden).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("engine");
    let options = CpuBuildOptions::new(root.join("checkpoints").join(name), &output);
    let manifest = build(&options, &Silent).unwrap();
    let encoder = Encoder::open(&output, &manifest.prompt).unwrap();
    for Case { messages, ids } in golden.cases {
        let texts: Vec<_> = messages.iter().map(|turn| turn.content.clone()).collect();
        let turns: Vec<_> = messages.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect();
        let ours = encoder.encode(&turns, EncodeOptions::default()).unwrap();
        assert_eq!(ours, ids, "{name}: {texts:?}");
        if let [text] = &texts[..] {
            assert_eq!(encoder.encode_templated(text).unwrap(), ids, "{name}: {text:?} by itself");
        }
    }
}

macro_rules! pairs {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            pairs_are_those_of_transformers($name);
        })*
    };
}

pairs! {
    deberta: "deberta-tiny";
    bert: "bert-tiny";
    roberta: "roberta-tiny";
    xlm_roberta: "xlm-roberta-tiny";
    modernbert: "modernbert-tiny";
}
