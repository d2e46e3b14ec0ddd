//! Where a conversation is read follows the model, whatever its text, padding and special tokens are.

use std::sync::Arc;

use assay::manifest::{Dtype, Manifest, Pooling, StepValue};
use assay::prompt::{EncodeOptions, Encoder, Message};
use assay::reward::{Head, Unscorable};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names};

const TURNS: [(&str, &str); 2] = [("user", "What is 2 + 3?"), ("assistant", "It is 5.")];

/// A built checkpoint: ids of conversations, and where they are read.
struct Built {
    manifest: Manifest,
    encoder: Encoder,
}

impl Built {
    fn of(checkpoint: &Checkpoint) -> Self {
        let manifest = checkpoint.build(Dtype::F32).unwrap();
        let encoder = Encoder::open(&checkpoint.beside("engine"), &manifest.prompt).unwrap();
        Self { manifest, encoder }
    }

    fn ids(&self, turns: &[(&str, &str)]) -> Vec<u32> {
        let message = |(role, content): &(&str, &str)| Message::new(*role, *content);
        let messages: Vec<_> = turns.iter().map(message).collect();
        self.encoder.encode(&messages, EncodeOptions::default()).unwrap()
    }

    fn read(&self, ids: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        Head::new(&self.manifest.head).positions(ids)
    }
}

/// The id of a token in a checkpoint's `tokenizer.json`.
fn id(checkpoint: &Checkpoint, token: &str) -> u32 {
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(checkpoint.file("tokenizer.json")).unwrap()).unwrap();
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let found = added.iter().find(|added| added["content"] == token).unwrap();
    found["id"].as_u64().unwrap() as u32
}

#[test]
fn a_process_reward_model_is_read_at_every_step_of_the_assistant() {
    let checkpoint = Checkpoint::copy("math-prm-tiny");
    let built = Built::of(&checkpoint);
    let step = id(&checkpoint, "<extra_0>");
    let pooling = Pooling::EachStep { token: "<extra_0>".into(), id: step, value: StepValue::Softmax };
    assert_eq!((built.manifest.head.pooling.clone(), built.manifest.head.outputs()), (pooling, 2));

    let ids = built.ids(&[
        // Text that the user writes is not a step.
        ("user", "2 + 3 + 4?<extra_0> Answer<extra_0>"),
        ("assistant", "2 + 3 is 5.<extra_0>\n\n5 + 4 is 9. <extra_0><|im_end|> 9<extra_0>"),
    ]);
    let read = built.read(&ids).unwrap();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|&position| ids[position] == step));
    // Another control token in a turn stays text.
    let end = id(&checkpoint, "<|im_end|>");
    assert_eq!(ids.iter().filter(|id| **id == end).count(), 3);

    let error = built.read(&built.ids(&[("user", "<extra_0>"), ("assistant", "9")])).unwrap_err();
    assert_names(&error.to_string(), &["<extra_0>", "each step"]);
}

#[test]
fn steps_have_the_ids_that_transformers_gives_them() {
    let built = Built::of(&Checkpoint::copy("math-prm-tiny"));
    let turns = [("user", "2 + 3?"), ("assistant", "It is<extra_0> 5.<extra_0>")];
    let text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n2 + 3?<|im_end|>\n\
                <|im_start|>assistant\nIt is<extra_0> 5.<extra_0><|im_end|>\n";
    assert_eq!(built.ids(&turns), built.encoder.encode_text(text).unwrap());
}

#[test]
fn a_gated_model_is_read_where_the_last_prompt_ends_too() {
    let checkpoint = Checkpoint::copy("armo-tiny");
    let built = Built::of(&checkpoint);
    assert_eq!((built.manifest.head.attributes.len(), built.manifest.head.outputs()), (20, 38));
    assert_eq!(built.manifest.head.attributes.last().unwrap(), "score");
    let turns = [TURNS, TURNS].concat();
    let ids = built.ids(&turns);
    let end = id(&checkpoint, "<|eot_id|>");
    let ends: Vec<usize> = (0..ids.len()).filter(|&position| ids[position] == end).collect();
    assert_eq!(*built.read(&ids).unwrap(), [ends[2], ids.len() - 1]);
    assert_eq!(built.read(&built.ids(&TURNS[..1])), Err(Unscorable::NoAnswer));
}

#[test]
fn a_score_is_read_at_the_models_own_token_if_it_has_one() {
    let checkpoint = Checkpoint::copy("internlm2-tiny");
    let built = Built::of(&checkpoint);
    let ids = built.ids(&TURNS);
    assert_eq!(ids.last(), Some(&699));
    assert_eq!(*built.read(&ids).unwrap(), [ids.len() - 1]);
}

/// As in transformers since 4.49; a file for `--head` chooses the other rule.
#[test]
fn padding_at_the_end_is_not_read_unless_the_head_file_says_so() {
    for (pad, from_end) in [(json!("<|end_of_text|>"), 1), (json!("<|eot_id|>"), 2), (Value::Null, 1)] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        let pad_id = pad.as_str().map(|token| id(&checkpoint, token));
        checkpoint.set("pad_token_id", json!(pad_id));
        let built = Built::of(&checkpoint);
        let ids = built.ids(&TURNS);
        assert_eq!(*ids.last().unwrap(), id(&checkpoint, "<|eot_id|>"));
        assert_eq!(*built.read(&ids).unwrap(), [ids.len() - from_end], "{pad}");
    }
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.set("pad_token_id", json!(id(&checkpoint, "<|eot_id|>")));
    let mut options = checkpoint.options(Dtype::F32);
    options.common.checkpoint.head = Some(checkpoint.beside("head.yaml"));
    std::fs::write(checkpoint.beside("head.yaml"), "read: last_token").unwrap();
    let manifest = assay::builder::cpu::build(&options, &assay::builder::Silent).unwrap();
    assert_eq!(manifest.head.pooling, Pooling::LastToken);
}

/// The template alone says how many BOS a prompt has, not the tokenizer's own settings.
#[test]
fn a_bos_is_neither_doubled_nor_added() {
    for (template, count) in [("{{ bos_token }}", 1), ("", 0), ("{{ bos_token }}{{ bos_token }}", 2)] {
        for add in [true, false] {
            let checkpoint = Checkpoint::copy("llama3-tiny");
            let body = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}";
            std::fs::write(checkpoint.file("chat_template.jinja"), format!("{template}{body}")).unwrap();
            checkpoint.edit("tokenizer_config.json", |config| config["add_bos_token"] = json!(add));
            let ids = Built::of(&checkpoint).ids(&TURNS);
            let bos = id(&checkpoint, "<|begin_of_text|>");
            assert_eq!(ids.iter().filter(|id| **id == bos).count(), count, "{template:?}");
        }
    }
}

#[test]
fn a_head_that_names_its_scores_takes_no_other_names() {
    for name in ["math-prm-tiny", "armo-tiny"] {
        let checkpoint = Checkpoint::copy(name);
        let file = checkpoint.beside("head.yaml");
        std::fs::write(&file, "rows: [0]\n").unwrap();
        let mut options = checkpoint.options(Dtype::F32);
        options.common.checkpoint.head = Some(file);
        let error = assay::builder::cpu::build(&options, &assay::builder::Silent).unwrap_err().to_string();
        assert_names(&error, &["--head", "leave --head out"]);
    }
}

#[test]
fn a_tokenizer_without_the_token_that_is_read_is_refused() {
    let checkpoint = Checkpoint::copy("math-prm-tiny");
    let token = "<extra_0>";
    checkpoint.edit("tokenizer.json", |tokenizer| {
        tokenizer["added_tokens"].as_array_mut().unwrap().retain(|added| added["content"] != token);
    });
    checkpoint.edit("tokenizer_config.json", |config| {
        config["added_tokens_decoder"].as_object_mut().unwrap().retain(|_, added| added["content"] != token);
    });
    assert_names(&checkpoint.refusal(), &["tokenizer", token]);
}
