//! Checkpoints whose tensors have other names than transformers' classes give them, or that have more of them.

use assay::manifest::{Manifest, WEIGHTS_FILE};
use serde_json::json;

use super::support::{Checkpoint, assert_names};

fn weights(manifest: &Manifest) -> &str {
    &manifest.files[WEIGHTS_FILE].sha256
}

/// Renames the tensors of a checkpoint.
fn renamed(name: &str, new: impl Fn(&str) -> String) -> Checkpoint {
    let checkpoint = Checkpoint::copy(name);
    checkpoint.rewrite(&checkpoint.file("model.safetensors"), new);
    checkpoint
}

#[track_caller]
fn builds_the_same(checkpoint: &Checkpoint, name: &str) {
    let (as_usual, _) = Checkpoint::copy(name).said();
    assert_eq!(weights(&checkpoint.said().0), weights(&as_usual), "{name}");
}

/// Transformers finds the base model in a file without its name, as `save_pretrained` of the base model writes it.
#[test]
fn base_models_may_be_saved_without_their_head() {
    for (name, base) in [
        ("gpt2-tiny", "transformer."),
        ("neox-tiny", "gpt_neox."),
        ("bert-tiny", "bert."),
        ("roberta-tiny", "roberta."),
        ("deberta-tiny", "deberta."),
        ("modernbert-tiny", "model."),
        ("llama3-tiny", "model."),
    ] {
        let checkpoint = renamed(name, |tensor| tensor.strip_prefix(base).unwrap_or(tensor).to_owned());
        builds_the_same(&checkpoint, name);
    }
}

#[test]
fn norms_may_have_the_names_of_the_first_bert() {
    let checkpoint = renamed("bert-tiny", |name| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    });
    builds_the_same(&checkpoint, "bert-tiny");
}

#[test]
fn heads_of_an_encoders_pre_training_are_left_out() {
    for (name, leftovers) in [
        ("bert-tiny", &["cls.predictions.bias", "cls.seq_relationship.weight"][..]),
        ("roberta-tiny", &["lm_head.dense.weight", "roberta.pooler.dense.weight"]),
        ("deberta-tiny", &["mask_predictions.dense.weight", "lm_predictions.lm_head.bias"]),
    ] {
        let checkpoint = Checkpoint::copy(name);
        checkpoint.retensor(|tensors| {
            for leftover in leftovers {
                let tensor = (safetensors::Dtype::F32, vec![2], vec![0; 8]);
                tensors.insert((*leftover).to_owned(), tensor);
            }
        });
        builds_the_same(&checkpoint, name);
    }
    let checkpoint = Checkpoint::copy("bert-tiny");
    checkpoint.retensor(|tensors| {
        tensors.insert("adapter.weight".to_owned(), (safetensors::Dtype::F32, vec![2], vec![0; 8]));
    });
    assert_names(&checkpoint.refusal(), &["adapter.weight", "unexpected"]);
}

#[test]
fn a_deberta_whose_positions_are_not_normed_may_have_their_norm() {
    let checkpoint = Checkpoint::copy("deberta-tiny");
    checkpoint.set("norm_rel_ebd", json!("none"));
    let relative = checkpoint.said().0.model.variant.bidirectional.unwrap().relative.unwrap();
    assert!(!relative.normed);
}

#[test]
fn a_head_that_peft_trained_replaces_the_original() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        let head = tensors.remove("score.weight").unwrap();
        let zeros = (head.0, head.1.clone(), vec![0; head.2.len()]);
        tensors.insert("score.original_module.weight".to_owned(), zeros);
        tensors.insert("score.modules_to_save.default.weight".to_owned(), head);
    });
    builds_the_same(&checkpoint, "llama3-tiny");
}

#[test]
fn a_tensor_under_an_unknown_prefix_is_named() {
    for (start, found) in [
        ("rm_model.model.", "rm_model.model.embed_tokens.weight"),
        ("backbone.", "backbone.embed_tokens.weight"),
    ] {
        let checkpoint = renamed("llama3-tiny", |name| name.replacen("model.", start, 1));
        let missing = "tensor model.embed_tokens.weight is missing";
        assert_names(&checkpoint.refusal(), &[missing, &format!("the checkpoint has {found}")]);
    }
    let checkpoint = renamed("llama3-tiny", |name| name.replace("q_proj.weight", "q_proj.base_layer.weight"));
    let found = "the checkpoint has model.layers.0.self_attn.q_proj.base_layer.weight";
    assert_names(&checkpoint.refusal(), &["self_attn.q_proj.weight is missing", found]);
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| drop(tensors.remove("model.layers.1.self_attn.q_proj.weight")));
    assert!(!checkpoint.refusal().contains("the checkpoint has"));
}

#[test]
fn activations_and_kinds_of_attention_are_read_under_their_other_names() {
    for (name, field, value) in [
        ("llama3-tiny", "hidden_act", json!("swish")),
        ("gpt2-tiny", "activation_function", json!("gelu_pytorch_tanh")),
        ("deberta-tiny", "pos_att_type", json!("c2p|p2c|p2p")),
    ] {
        let (as_usual, _) = Checkpoint::copy(name).said();
        let checkpoint = Checkpoint::copy(name);
        assert_eq!(checkpoint.set(field, value).said().0.model, as_usual.model, "{name}");
    }
    let checkpoint = Checkpoint::copy("gemma3-tiny");
    checkpoint.edit("config.json", |config| {
        config.as_object_mut().unwrap().remove("hidden_activation");
        config["hidden_act"] = json!("gelu");
    });
    assert_names(&checkpoint.said().1, &["hidden_act gelu", "no effect", "hidden_activation"]);
}

#[test]
fn weights_in_f64_are_rounded_to_f32() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        for (dtype, _, bytes) in tensors.values_mut() {
            let values = match *dtype {
                safetensors::Dtype::F32 => {
                    bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four))
                }
                other => panic!("{other}"),
            };
            *bytes = values.flat_map(|value| f64::from(value).to_le_bytes()).collect();
            *dtype = safetensors::Dtype::F64;
        }
    });
    builds_the_same(&checkpoint, "llama3-tiny");
}
