//! Classifiers are read where transformers reads them, whatever token their configuration calls padding.

use std::collections::BTreeMap;
use std::path::Path;

use assay::engine::EngineOptions;
use assay::manifest::Dtype;
use assay::reward::Head;
use serde::Deserialize;
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names};
use crate::support::Driver;

#[derive(Deserialize)]
struct Padded {
    pad: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    scores: Vec<f32>,
}

fn set_pad(checkpoint: &Checkpoint, pad: &Value) {
    checkpoint.edit("config.json", |config| {
        config["pad_token_id"] = pad.clone();
        if let Some(text) = config.get_mut("text_config") {
            text["pad_token_id"] = pad.clone();
        }
    });
}

#[test]
fn classifiers_of_every_family_are_read_where_transformers_reads_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/padding.json");
    let golden: BTreeMap<String, Vec<Padded>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (name, padded) in golden {
        for Padded { pad, cases } in padded {
            let checkpoint = Checkpoint::copy(&name);
            set_pad(&checkpoint, &pad);
            let manifest = checkpoint.build(Dtype::F32).unwrap();
            let head = Head::new(&manifest.head);
            let mut driver = Driver::start(&checkpoint.beside("engine"), &manifest, EngineOptions::default());
            for Case { ids, scores } in cases {
                let outputs = driver.read(&ids, &head.positions(&ids).unwrap());
                let ours = head.scores(&outputs).unwrap();
                for ((label, ours), expected) in ours.pairs.iter().zip(scores) {
                    assert!(
                        (ours - expected).abs() < 1e-4,
                        "{name}, padding {pad}: {label} of {ids:?} is {ours}, not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_padding_token_that_the_model_does_not_have_is_mentioned() {
    for (pad, shown) in [(json!(-1), "-1"), (json!(70_000), "70000"), (json!("<pad>"), "<pad>")] {
        let checkpoint = Checkpoint::copy("qwen2-tiny");
        set_pad(&checkpoint, &pad);
        let said = checkpoint.said().1;
        assert_names(&said, &["pad_token_id", shown, "very last token"]);
    }
    let checkpoint = Checkpoint::copy("qwen2-tiny");
    set_pad(&checkpoint, &Value::Null);
    assert!(!checkpoint.said().1.contains("pad_token_id"));
}
