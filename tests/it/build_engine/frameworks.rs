//! Reward models as training frameworks save them: `tests/frameworks` was written by their own code
//! (`tools/make_framework_fixtures.py`).

use std::path::Path;

use assay::manifest::score_options::Normal;
use assay::manifest::{Dtype, FileDigest, HEAD_FILE, Manifest, Pooling, WEIGHTS_FILE};
use serde_json::json;

use super::support::{Checkpoint, copy_into};

/// The head that every framework was given: 32 numbers that bfloat16 has.
fn head() -> Vec<u8> {
    (0..32_u16).flat_map(|column| ((f32::from(column) - 13.0) / 64.0).to_le_bytes()).collect()
}

/// The model as a plain classifier, put together without any framework.
fn plain() -> Checkpoint {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    checkpoint.set("architectures", json!(["LlamaForSequenceClassification"]));
    checkpoint.set("id2label", json!({"0": "LABEL_0"}));
    checkpoint.retensor(|tensors| {
        tensors.remove("lm_head.weight");
        tensors.insert("score.weight".to_owned(), (safetensors::Dtype::F32, vec![1, 32], head()));
    });
    checkpoint
}

/// The model as a framework saved it, with the tokenizer of its base.
fn saved_by(framework: &str) -> Manifest {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    for file in ["config.json", "model.safetensors", "head.yaml"] {
        std::fs::remove_file(checkpoint.file(file)).unwrap();
    }
    let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frameworks").join(framework);
    copy_into(&saved, &checkpoint.path());
    checkpoint.build(Dtype::F32).unwrap_or_else(|error| panic!("{framework}: {error}"))
}

fn weights(manifest: &Manifest) -> &FileDigest {
    &manifest.files[WEIGHTS_FILE]
}

#[test]
fn what_each_framework_saves_has_the_weights_and_the_head_that_it_was_given() {
    let plain = plain().build(Dtype::F32).unwrap();
    for framework in ["trl", "llamafactory", "openrlhf", "ms-swift"] {
        let manifest = saved_by(framework);
        assert_eq!(weights(&manifest), weights(&plain), "{framework}");
        assert_eq!(manifest.head.attributes, ["reward"], "{framework}");
        let has_bias = framework == "llamafactory";
        assert_eq!((manifest.head.bias, manifest.files.contains_key(HEAD_FILE)), (has_bias, has_bias));
    }
}

#[test]
fn classifiers_are_read_before_padding_and_trainers_heads_at_the_last_token() {
    for (framework, pooling) in [
        ("trl", Pooling::LastNonPad { pad: 624 }),
        ("ms-swift", Pooling::LastNonPad { pad: 621 }),
        ("llamafactory", Pooling::LastToken),
        ("openrlhf", Pooling::LastToken),
    ] {
        assert_eq!(saved_by(framework).head.pooling, pooling, "{framework}");
    }
}

#[test]
fn the_mean_and_the_deviation_that_openrlhf_saves_are_applied() {
    let manifest = saved_by("openrlhf");
    assert_eq!(manifest.head.score.normalize["reward"], Normal { mean: 0.25, std: 2.0 });
}
