//! Heads under every name that training code gives them, and those that `--head` describes.

use std::collections::BTreeMap;

use assay::builder::cpu::build;
use assay::builder::{BuildError, Silent};
use assay::manifest::score_options::Normal;
use assay::manifest::{Dtype, FileDigest, Manifest, Pooling, StepValue};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names};

/// Builds it again, with a file for `--head` if there is one.
fn build_with(checkpoint: &Checkpoint, head: Option<&str>) -> Result<Manifest, BuildError> {
    let _ = std::fs::remove_dir_all(checkpoint.beside("engine"));
    let mut options = checkpoint.options(Dtype::F32);
    if let Some(head) = head {
        std::fs::write(checkpoint.beside("head.yaml"), head).unwrap();
        options.common.checkpoint.head = Some(checkpoint.beside("head.yaml"));
    }
    build(&options, &Silent)
}

/// The digests of decoder and head: equal ones give equal scores.
fn weights(manifest: &Manifest) -> BTreeMap<&str, &FileDigest> {
    let tensors = manifest.files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
    tensors.map(|(name, digest)| (name.as_str(), digest)).collect()
}

fn rename(checkpoint: &Checkpoint, from: &str, to: &str) {
    let path = checkpoint.file("model.safetensors");
    checkpoint.rewrite(&path, |name| match name.strip_prefix(from) {
        Some(rest) => format!("{to}{rest}"),
        None => name.to_owned(),
    });
}

#[test]
fn a_linear_head_is_found_under_the_names_and_classes_of_trainers_and_models() {
    let plain = Checkpoint::copy("openrlhf-tiny").build(Dtype::F32).unwrap();
    for (class, head) in [
        ("LLMForSequenceRegression", "value_head"),
        ("LLMForSequenceRegression", "score"),
        ("CriticModel", "value_head"),
        ("LlamaModel", "score"),
        ("LlamaRewardModel", "regression_head"),
        ("LlamaRewardModel", "reward_head"),
        ("EurusRewardModel", "regression_head"),
        ("LlamaForScore", "score_head"),
        ("LlamaModelForScore", "score_head"),
        ("GPTRewardModel", "v_head"),
        ("LlamaForCausalRM", "v_head.summary"),
        ("LlamaForCausalLMWithValueHead", "v_head.summary"),
        ("LlamaForSequenceClassification", "score"),
        ("LlamaForSequenceClassification", "classifier"),
        ("LlamaForSequenceClassification", "rm_head"),
        ("LlamaForCausalLM", "score"),
    ] {
        let checkpoint = Checkpoint::copy("openrlhf-tiny");
        checkpoint.set("architectures", json!([class]));
        rename(&checkpoint, "value_head.", &format!("{head}."));
        let manifest =
            build_with(&checkpoint, None).unwrap_or_else(|error| panic!("{class} {head}: {error}"));
        assert_eq!(weights(&manifest), weights(&plain), "{class} {head}");
        assert_eq!(manifest.head.attributes, ["reward"], "{class} {head}");
    }
}

#[test]
fn the_name_that_openrlhf_writes_down_counts() {
    let checkpoint = Checkpoint::copy("openrlhf-tiny");
    rename(&checkpoint, "value_head.", "my_own_head.");
    assert_names(&checkpoint.refusal(), &["my_own_head.weight [1, 32]", "--head", "matrix"]);
    checkpoint.set("value_head_prefix", json!("my_own_head"));
    let plain = Checkpoint::copy("openrlhf-tiny").build(Dtype::F32).unwrap();
    assert_eq!(weights(&build_with(&checkpoint, None).unwrap()), weights(&plain));
}

#[test]
fn a_head_is_described_by_its_tensors_under_any_class() {
    let plain = Checkpoint::copy("openrlhf-tiny").build(Dtype::F32).unwrap();
    let checkpoint = Checkpoint::copy("openrlhf-tiny");
    checkpoint.set("architectures", json!(["MyOwnClass"]));
    rename(&checkpoint, "value_head.", "my.own.");
    assert_names(&checkpoint.refusal(), &["MyOwnClass", "--head", "matrix"]);
    let manifest = build_with(&checkpoint, Some("matrix: my.own.weight\nattributes: [quality]")).unwrap();
    assert_eq!(weights(&manifest), weights(&plain));
    assert_eq!(manifest.head.attributes, ["quality"]);
    let sentence = build_with(&checkpoint, Some("matrix: my.weight")).unwrap_err().to_string();
    assert_names(&sentence, &["--head", "my.weight", "my.own.weight [1, 32]"]);
}

#[test]
fn layers_of_several_are_known_by_class_or_described() {
    let plain = Checkpoint::copy("math-rm-tiny").build(Dtype::F32).unwrap();
    let checkpoint = Checkpoint::copy("math-rm-tiny");
    checkpoint.set("architectures", json!(["INFORMForSequenceClassification"]));
    assert_eq!(weights(&build_with(&checkpoint, None).unwrap()), weights(&plain));

    rename(&checkpoint, "score.", "v_head.summary.");
    checkpoint.set("architectures", json!(["Qwen2ForCausalLM"]));
    assert_eq!(weights(&build_with(&checkpoint, None).unwrap()), weights(&plain), "GRM");

    checkpoint.set("architectures", json!(["Qwen2ForSequenceClassification"]));
    std::fs::remove_dir_all(checkpoint.beside("engine")).unwrap();
    let sentence = checkpoint.build(Dtype::F32).unwrap_err().to_string();
    assert_names(
        &sentence,
        &["v_head.summary", "2 layers", "--head", "matrix: v_head.summary.0.weight", "activation"],
    );
    let layers = "layers:\n- {matrix: v_head.summary.0.weight, bias: v_head.summary.0.bias}\n\
                  - {matrix: v_head.summary.2.weight, bias: v_head.summary.2.bias}";
    let manifest = build_with(&checkpoint, Some(layers)).unwrap();
    assert_eq!(weights(&manifest), weights(&plain));
    assert_eq!(manifest.head, plain.head);
    let tanh = layers.replace(".0.bias}", ".0.bias, activation: tanh}");
    assert_ne!(build_with(&checkpoint, Some(&tanh)).unwrap().head, plain.head);
}

#[test]
fn the_number_of_scores_is_that_of_the_heads_rows() {
    for (labels, count) in [
        (json!({}), None),
        (json!({"id2label": null, "num_labels": 2}), None),
        (json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "num_labels": 1}), Some(1)),
    ] {
        let checkpoint = Checkpoint::copy("qwen2-tiny");
        checkpoint.edit("config.json", |config| {
            config.as_object_mut().unwrap().remove("id2label");
            for (name, value) in labels.as_object().unwrap() {
                config[name] = value.clone();
            }
        });
        let manifest = checkpoint.build(Dtype::F32).unwrap();
        assert_eq!(manifest.head.attributes, ["reward"], "{labels}");
        assert_eq!(manifest.head.outputs(), count.unwrap_or(1));
    }
}

#[test]
fn names_in_the_head_file_come_before_labels_that_cannot_be_used() {
    for labels in [
        json!({"0": "very good", "1": "b", "2": "c", "3": "d", "4": "e"}),
        json!({"0": 1, "1": 2, "2": 3, "3": 4, "4": 5}),
        json!({"0": "only one"}),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.set("id2label", labels);
        assert_names(&checkpoint.refusal(), &["id2label", "--head", "attributes"]);
        let manifest = build_with(&checkpoint, Some("attributes: [a, b, c, d, e]")).unwrap();
        assert_eq!(manifest.head.attributes, ["a", "b", "c", "d", "e"]);
    }
}

#[test]
fn openrlhfs_normalisation_is_applied_or_mentioned() {
    let checkpoint = Checkpoint::copy("openrlhf-tiny");
    checkpoint.set("normalize_reward", json!(true)).set("mean", json!(0.25)).set("std", json!(2.0));
    let manifest = build_with(&checkpoint, None).unwrap();
    assert_eq!(manifest.head.score.normalize["reward"], Normal { mean: 0.25, std: 2.0 });
    checkpoint.set("normalize_reward", json!(false));
    assert!(build_with(&checkpoint, None).unwrap().head.score.normalize.is_empty());
    for (field, value) in [("std", json!(0)), ("std", json!(null)), ("mean", json!("x")), ("std", json!(-1))]
    {
        let checkpoint = Checkpoint::copy("openrlhf-tiny");
        checkpoint.set("normalize_reward", json!(true)).set("mean", json!(0.25)).set("std", json!(2.0));
        assert_names(&checkpoint.set(field, value).refusal(), &["config.json", field]);
    }
}

#[test]
fn configuration_and_weights_of_two_classes_are_named_with_what_to_set() {
    let language = Checkpoint::copy("lm-head-tiny");
    language.set("architectures", json!(["LlamaForSequenceClassification"]));
    assert_names(
        &language.refusal(),
        &["score.weight", "missing", "lm_head.weight", "LlamaForCausalLM", "never saved"],
    );

    let classifier = Checkpoint::copy("llama3-tiny");
    classifier.set("architectures", json!(["LlamaForCausalLM"]));
    let parts = ["architectures", "score.weight", "5 rows", "LlamaForSequenceClassification"];
    assert_names(&classifier.refusal(), &parts);

    let trainer = Checkpoint::copy("openrlhf-tiny");
    trainer.retensor(|tensors| drop(tensors.remove("value_head.weight")));
    assert_names(&trainer.refusal(), &["score.weight", "missing"]);
}

#[test]
fn wrappers_leave_no_trace_in_the_engine() {
    let plain = Checkpoint::copy("trl-tiny").build(Dtype::F32).unwrap();
    type Rename = fn(&str) -> String;
    let wrap: [(&str, Rename); 6] = [
        ("_orig_mod.", |name| format!("_orig_mod.{name}")),
        ("module.", |name| format!("module.{name}")),
        ("pretrained_model.", |name| {
            if name.starts_with("v_head") { name.to_owned() } else { format!("pretrained_model.{name}") }
        }),
        ("base_model.model.", |name| format!("base_model.model.{name}")),
        (
            "model.model.",
            |name| if name.starts_with("v_head") { name.to_owned() } else { format!("model.{name}") },
        ),
        ("bare", |name| name.strip_prefix("model.").unwrap_or(name).to_owned()),
    ];
    for (what, change) in wrap {
        let checkpoint = Checkpoint::copy("trl-tiny");
        checkpoint.rewrite(&checkpoint.file("model.safetensors"), change);
        let manifest = build_with(&checkpoint, None).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(weights(&manifest), weights(&plain), "{what}");
    }
}

fn ids(checkpoint: &Checkpoint, tokens: &[&str]) -> Vec<usize> {
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(checkpoint.file("tokenizer.json")).unwrap()).unwrap();
    tokens.iter().map(|token| tokenizer["model"]["vocab"][token].as_u64().unwrap() as usize).collect()
}

#[test]
fn a_language_model_judges_by_the_tokens_that_its_configuration_names() {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    let [a, b] = ids(&checkpoint, &["a", "b"])[..] else { unreachable!() };
    checkpoint.set("classifier_from_token", json!(["a", "b"]));
    let manifest = build_with(&checkpoint, None).unwrap();
    let file = format!("rows: [{b}]\nminus: {a}\nattributes: [reward]");
    checkpoint.set("classifier_from_token", json!(null));
    let described = build_with(&checkpoint, Some(&file)).unwrap();
    assert_eq!((weights(&manifest), &manifest.head), (weights(&described), &described.head));

    checkpoint.set("classifier_from_token", json!(["a", "b"])).set("method", json!("no_post_processing"));
    let rows = build_with(&checkpoint, None).unwrap().head;
    assert_eq!((rows.rows, rows.attributes), (vec![a, b], vec!["a".to_owned(), "b".to_owned()]));
    checkpoint.set("architectures", json!(["LlamaForSequenceClassification"]));
    assert_eq!(build_with(&checkpoint, None).unwrap().head.attributes, ["a", "b"]);
    checkpoint.set("method", json!("from_8_way_softmax"));
    let sentence = build_with(&checkpoint, None).unwrap_err().to_string();
    assert_names(&sentence, &["method", "from_8_way_softmax", "no_post_processing"]);
}

#[test]
fn steps_that_are_encoded_one_by_one_follow_a_plain_prompt_or_the_chat_template() {
    let checkpoint = Checkpoint::copy("trl-prm-tiny");
    let own = build_with(&checkpoint, None).unwrap();
    let Some(steps) = &own.prompt.steps else { panic!("no steps in {:?}", own.prompt) };
    assert_eq!(
        (steps.separator.as_str(), own.head.pooling.clone()),
        ("\n", Pooling::EachEncodedStep { separator: "\n".into(), value: StepValue::Softmax })
    );
    let template = |manifest: &Manifest| manifest.files["chat_template.jinja"].clone();
    let changed = build_with(&checkpoint, Some("step_token: \"\\n\\n\"")).unwrap();
    assert_eq!(changed.prompt.steps.as_ref().unwrap().separator, "\n\n");
    assert_eq!(template(&changed), template(&own));
    let chat = build_with(&checkpoint, Some("step_prompt: chat_template")).unwrap();
    assert_ne!(template(&chat), template(&own));
    assert!(chat.prompt.generation_prompt && !own.prompt.generation_prompt);

    // A tokenizer without a chat template needs none, unless the head file asks for it.
    std::fs::remove_file(checkpoint.file("chat_template.jinja")).unwrap();
    assert_eq!(template(&build_with(&checkpoint, None).unwrap()), template(&own));
    let sentence = build_with(&checkpoint, Some("step_prompt: chat_template")).unwrap_err().to_string();
    assert_names(&sentence, &["there is no chat template"]);

    let judge = Checkpoint::copy("lm-head-tiny");
    let apart = build_with(&judge, Some("rows: [1, 2]\nstep_token: \"\\n\"\nstep_prompt: text")).unwrap();
    assert_eq!(apart.prompt.steps.as_ref().unwrap().separator, "\n");
    let sentence = build_with(&judge, Some("rows: [1, 2]\nstep_prompt: text")).unwrap_err().to_string();
    assert_names(&sentence, &["--head", "step_prompt", "step_token"]);
}

#[test]
fn causal_models_that_judge_steps_are_known_by_name() {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    let [minus, plus] = ids(&checkpoint, &["-", "+"])[..] else { unreachable!() };
    let mut options = checkpoint.options(Dtype::F32);
    options.common.name = Some("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data".to_owned());
    let manifest = build(&options, &Silent).unwrap();
    assert_eq!(manifest.head.rows, [minus, plus]);
    assert!(matches!(manifest.head.pooling, Pooling::EachTurn { .. }), "{:?}", manifest.head.pooling);

    let manifest =
        build_with(&checkpoint, Some(&format!("rows: [{minus}, {plus}]\nstep_token: ' b'"))).unwrap();
    let Pooling::EachStep { id, value, .. } = manifest.head.pooling else { panic!("not read at steps") };
    assert_eq!((id as usize, value), (ids(&checkpoint, &["\u{120}b"])[0], StepValue::Softmax));
    assert_eq!(manifest.head.attributes, ["step"]);
    let one =
        build_with(&checkpoint, Some(&format!("rows: [{plus}]\nstep_token: ' b'\nstep_value: raw"))).unwrap();
    assert_eq!(one.head.outputs(), 1);
    for file in
        ["rows: [1, 2, 3]\nstep_token: b", "rows: [1]\nstep_value: raw", "rows: [1, 2]\nstep_token: ''"]
    {
        let sentence = build_with(&checkpoint, Some(file)).unwrap_err().to_string();
        assert_names(&sentence, &["--head", "step_"]);
    }
}
