//! Families under the names and layouts that their checkpoints have, and what the build says about them.

use assay::builder::cpu::build;
use assay::manifest::{Dtype, Manifest, RopeScaling, SlidingWindow, Task, WEIGHTS_FILE};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names};

fn digest(manifest: &Manifest) -> &str {
    &manifest.files[WEIGHTS_FILE].sha256
}

#[test]
fn gemma_3_text_models_are_built_under_every_class_of_transformers() {
    let checkpoint = Checkpoint::copy("gemma3-tiny");
    let (text, _) = checkpoint.said();
    checkpoint.set("architectures", json!(["Gemma3ForSequenceClassification"]));
    assert_eq!(digest(&checkpoint.said().0), digest(&text));

    checkpoint.set("architectures", json!(["Gemma3ForCausalLM"]));
    checkpoint.retensor(|tensors| drop(tensors.remove("score.weight")));
    let (language, said) = checkpoint.said();
    assert_eq!((language.task, language.model.family.as_str()), (Task::Chat, "gemma3"));
    assert_names(&said, &["Gemma3ForCausalLM", "Gemma 3"]);
}

#[test]
fn the_text_part_of_a_model_of_images_is_built_from_both_layouts() {
    let checkpoint = Checkpoint::copy("gemma3-vision");
    let (new, said) = checkpoint.said();
    assert_names(&said, &["Gemma3ForSequenceClassification takes images", "only its text part"]);
    assert_eq!(new.model.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert_eq!(new.model.variant.sliding_window.as_ref().unwrap().layers, [0, 2]);

    // As `save_pretrained` writes it and the hub has it.
    checkpoint.retensor(|tensors| {
        for (name, tensor) in std::mem::take(tensors) {
            let name = match name.strip_prefix("model.language_model.") {
                Some(text) => format!("language_model.model.{text}"),
                None => name.strip_prefix("model.").unwrap_or(&name).to_owned(),
            };
            tensors.insert(name, tensor);
        }
    });
    assert_eq!(digest(&checkpoint.said().0), digest(&new));

    // A tensor of the text part that it should not have is found as elsewhere.
    checkpoint.retensor(|tensors| {
        let tensor = tensors["language_model.model.norm.weight"].clone();
        tensors.insert("language_model.model.norm.bias".to_owned(), tensor);
    });
    assert_names(&checkpoint.refusal(), &["model.norm.bias", "unexpected"]);
}

#[test]
fn a_language_model_of_images_has_the_defaults_of_its_text_part() {
    let checkpoint = Checkpoint::copy("gemma3-vision");
    checkpoint.retensor(|tensors| drop(tensors.remove("score.weight")));
    checkpoint.set("architectures", json!(["Gemma3ForConditionalGeneration"]));
    assert_eq!(checkpoint.said().0.task, Task::Chat);
    // Published text sections leave out what is Gemma 3's default.
    checkpoint.edit("config.json", |config| {
        drop(config["text_config"].as_object_mut().unwrap().remove("vocab_size"))
    });
    assert_names(&checkpoint.refusal(), &["embed_tokens", "[262208, 64]"]);
    checkpoint.set("text_config", json!({}));
    assert_names(&checkpoint.refusal(), &["text_config", "missing"]);
    checkpoint.set("text_config", json!({"model_type": "gemma4_text"}));
    assert_names(&checkpoint.refusal(), &["text_config.model_type", "gemma4_text"]);
}

#[test]
fn the_text_part_of_a_mistral_3_may_be_a_mistral() {
    let checkpoint = Checkpoint::copy("mistral-tiny");
    let (text, _) = checkpoint.said();
    checkpoint.edit("config.json", |config| {
        let mut section = config.clone();
        section["architectures"] = json!(["MistralForSequenceClassification"]);
        *config = json!({
            "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
            "text_config": section, "vision_config": {}, "tie_word_embeddings": false,
        });
    });
    checkpoint.retensor(|tensors| {
        for (name, tensor) in std::mem::take(tensors) {
            if name != "score.weight" {
                tensors.insert(format!("language_model.{name}"), tensor);
            }
        }
        let head = tensors["language_model.model.embed_tokens.weight"].clone();
        tensors.insert("language_model.lm_head.weight".to_owned(), head);
    });
    let (language, said) = checkpoint.said();
    assert_names(&said, &["Mistral3ForConditionalGeneration", "text part"]);
    assert_eq!((&language.model.variant, language.task), (&text.model.variant, Task::Chat));
}

#[test]
fn layer_types_mean_what_they_mean_in_transformers() {
    let kinds = json!(["full_attention", "sliding_attention", "full_attention"]);
    let checkpoint = Checkpoint::copy("mistral-tiny");
    checkpoint.set("layer_types", kinds.clone());
    let (ministral, _) = checkpoint.said();
    assert_eq!(ministral.model.family, "ministral");
    let window = SlidingWindow { keys: 45, layers: vec![1], rope: None };
    assert_eq!(ministral.model.variant.sliding_window, Some(window));
    checkpoint
        .set("model_type", json!("ministral"))
        .set("architectures", json!(["MinistralForSequenceClassification"]));
    assert_eq!(digest(&checkpoint.said().0), digest(&ministral));
    checkpoint.set("layer_types", json!(null));
    assert_eq!(checkpoint.said().0.model.variant.sliding_window.unwrap().layers, [0, 1, 2]);

    // Every layer of these is alike.
    for name in ["phi3-tiny", "olmo2-tiny"] {
        let checkpoint = Checkpoint::copy(name);
        let (plain, _) = checkpoint.said();
        checkpoint.set("layer_types", kinds.clone());
        let (listed, said) = checkpoint.said();
        assert_eq!(listed.model.variant, plain.model.variant, "{name}");
        assert_names(&said, &["layer_types", "no effect"]);
    }

    let checkpoint = Checkpoint::copy("qwen3-tiny");
    checkpoint.set("layer_types", kinds);
    assert_names(&checkpoint.refusal(), &["use_sliding_window", "sliding_attention"]);
    checkpoint.set("use_sliding_window", json!(true)).set("sliding_window", json!(30));
    assert_eq!(checkpoint.said().0.model.variant.sliding_window.unwrap().layers, [1]);
}

#[test]
fn fields_that_a_family_does_not_have_change_nothing_and_are_named() {
    let checkpoint = Checkpoint::copy("gpt2-tiny");
    let (plain, _) = checkpoint.said();
    checkpoint.set("intermediate_size", json!(9)).set("num_key_value_heads", json!(1));
    let (stray, said) = checkpoint.said();
    assert_eq!(digest(&stray), digest(&plain));
    assert_names(&said, &["intermediate_size in config.json has no effect", "num_key_value_heads"]);

    let checkpoint = Checkpoint::copy("gemma3-tiny");
    checkpoint.set("attn_logit_softcapping", json!(2.0));
    let (capped, said) = checkpoint.said();
    assert_eq!(capped.model.variant.attention_softcap, None);
    assert_names(&said, &["attn_logit_softcapping", "no effect", "Gemma 3"]);
}

#[test]
fn a_deberta_without_relative_positions_may_have_their_norm() {
    let checkpoint = Checkpoint::copy("deberta-tiny");
    checkpoint.set("relative_attention", json!(false));
    assert_names(&checkpoint.refusal(), &["pos_att_type", "`relative_attention` is false"]);
    checkpoint.set("pos_att_type", json!([]));
    checkpoint.retensor(|tensors| {
        tensors.retain(|name, _| !name.contains("rel_embeddings") && !name.contains("pos_"));
    });
    assert!(checkpoint.tensors("model.safetensors").contains_key("deberta.encoder.LayerNorm.bias"));
    assert_eq!(checkpoint.said().0.model.variant.bidirectional.unwrap().relative, None);
}

#[test]
fn a_model_that_the_cpu_engine_cannot_compute_is_refused_before_any_work() {
    let checkpoint = Checkpoint::copy("qwen3-tiny");
    for (field, value) in [("head_dim", 12), ("num_attention_heads", 8), ("num_key_value_heads", 4)] {
        checkpoint.set(field, json!(value));
    }
    checkpoint.retensor(|tensors| {
        for (name, (dtype, shape, bytes)) in tensors.iter_mut() {
            if name.contains("q_norm") || name.contains("k_norm") {
                *shape = vec![12];
                bytes.truncate(12 * dtype.bitsize() / 8);
            }
        }
    });
    assert_names(&checkpoint.refusal(), &["config.json", "multiple of 8 from 8 to 256", "12"]);
}

#[test]
fn the_size_of_a_window_counts_only_if_a_layer_has_one() {
    let checkpoint = Checkpoint::copy("qwen2-moe-tiny");
    for field in ["layer_types", "max_window_layers"] {
        checkpoint.set(field, json!(null));
    }
    // As transformers saves it without windows.
    checkpoint.set("use_sliding_window", json!(false)).set("sliding_window", json!(0));
    assert_eq!(checkpoint.said().0.model.variant.sliding_window, None);
    checkpoint.set("use_sliding_window", json!(true));
    assert_names(&checkpoint.refusal(), &["sliding_window", "0 is not a number"]);
}

#[test]
fn factors_and_layers_that_no_engine_computes_are_refused() {
    let refused = |name: &str, field: &str, value: Value, part: &str| {
        let checkpoint = Checkpoint::copy(name);
        checkpoint.set(field, value);
        assert_names(&checkpoint.refusal(), &[field, part]);
    };
    refused("granite-tiny", "logits_scaling", json!(3.0), "power of two");
    refused("cohere-tiny", "logit_scale", json!(-1.0), "above 0");
    refused("qwen3-tiny", "use_qk_norm", json!(true), "norms of queries");
    refused(
        "ministral3-tiny",
        "rope_parameters",
        json!({"rope_type": "yarn", "factor": 16.0, "llama_4_scaling_beta": -1}),
        "at least 0",
    );
    refused("olmoe-tiny", "clip_qkv", json!(8.0), "clipped");
    refused("neox-tiny", "hidden_act", json!("gelu_new"), "gelu_new");
    refused("mixtral-tiny", "num_experts_per_tok", json!(6), "5 experts");
}

#[test]
fn pythia_checkpoints_are_built_with_their_old_buffers_and_names() {
    let checkpoint = Checkpoint::copy("neox-tiny");
    let (new, _) = checkpoint.said();
    checkpoint.retensor(|tensors| {
        let mask = (safetensors::Dtype::U8, vec![1, 1, 2, 2], vec![1, 0, 1, 1]);
        tensors.insert("gpt_neox.layers.0.attention.bias".to_owned(), mask);
        let masked = (safetensors::Dtype::F32, vec![], vec![0; 4]);
        tensors.insert("gpt_neox.layers.0.attention.masked_bias".to_owned(), masked);
    });
    assert_eq!(digest(&checkpoint.said().0), digest(&new));
    checkpoint.set("use_parallel_residual", json!(false));
    assert!(!checkpoint.said().0.model.variant.parallel_residual);
}

/// As transformers 5 holds them.
#[test]
fn experts_may_be_stacked_in_one_tensor() {
    let checkpoint = Checkpoint::copy("qwen3-moe-tiny");
    let (apart, _) = checkpoint.said();
    checkpoint.retensor(|tensors| {
        let first = |name: &String| Some(name.strip_suffix(".experts.0.up_proj.weight")?.to_owned());
        let layers: Vec<String> = tensors.keys().filter_map(first).collect();
        for layer in layers {
            let up = |expert: usize| format!("{layer}.experts.{expert}.up_proj.weight");
            let count = (0..).take_while(|&expert| tensors.contains_key(&up(expert))).count();
            let (mut gate_up, mut down) = (Vec::new(), Vec::new());
            let (mut width, mut hidden, mut dtype) = (0, 0, safetensors::Dtype::BF16);
            for expert in 0..count {
                for part in ["gate_proj", "up_proj", "down_proj"] {
                    let name = format!("{layer}.experts.{expert}.{part}.weight");
                    let (kind, shape, values) = tensors.remove(&name).unwrap();
                    if part == "up_proj" {
                        (width, hidden, dtype) = (shape[0], shape[1], kind);
                    }
                    if part == "down_proj" { down.extend(values) } else { gate_up.extend(values) }
                }
            }
            tensors.insert(
                format!("{layer}.experts.gate_up_proj"),
                (dtype, vec![count, 2 * width, hidden], gate_up),
            );
            tensors.insert(format!("{layer}.experts.down_proj"), (dtype, vec![count, hidden, width], down));
        }
    });
    assert_eq!(digest(&checkpoint.said().0), digest(&apart));
}

#[test]
fn gpt_2_is_built_under_every_class_unless_its_attention_is_scaled_by_layer() {
    let checkpoint = Checkpoint::copy("gpt2-tiny");
    let (classifier, _) = checkpoint.said();
    assert_eq!(classifier.model.intermediate_size, 4 * 72);
    checkpoint.retensor(|tensors| {
        let mask = (safetensors::Dtype::U8, vec![1, 1, 2, 2], vec![1, 0, 1, 1]);
        tensors.insert("transformer.h.0.attn.bias".to_owned(), mask);
    });
    assert_eq!(digest(&checkpoint.said().0), digest(&classifier));
    let mut options = checkpoint.options(Dtype::F32);
    options.common.max_seq_len = Some(421);
    let error = build(&options, &assay::builder::Silent).unwrap_err().to_string();
    assert_names(&error, &["--max-seq-len 421", "positions reach 420"]);
    let scaled = Checkpoint::copy("gpt2-tiny");
    scaled.set("scale_attn_by_inverse_layer_idx", json!(true));
    assert_names(&scaled.refusal(), &["scale_attn_by_inverse_layer_idx"]);
    let language = Checkpoint::copy("gpt2-tiny");
    language.set("architectures", json!(["GPT2LMHeadModel"]));
    language.retensor(|tensors| {
        tensors.remove("score.weight");
    });
    assert_eq!(language.said().0.task, assay::manifest::Task::Chat);
}

#[test]
fn encoders_that_cannot_be_built_are_refused_by_name() {
    for (name, field, value, says) in [
        ("deberta-tiny", "conv_kernel_size", json!(3), "convolutions"),
        ("deberta-tiny", "pos_att_type", json!(["P2C"]), "c2p, p2c and p2p"),
        ("deberta-tiny", "position_buckets", json!(400), "position_buckets"),
        ("deberta-tiny", "pooler_hidden_act", json!("elu"), "elu"),
        ("bert-tiny", "position_embedding_type", json!("relative_key"), "absolute"),
        ("bert-tiny", "is_decoder", json!(true), "is_decoder"),
        ("bert-tiny", "hidden_act", json!("relu"), "relu"),
        ("modernbert-tiny", "classifier_pooling", json!("max"), "cls and mean"),
    ] {
        let checkpoint = Checkpoint::copy(name);
        checkpoint.set(field, value);
        assert_names(&checkpoint.refusal(), &[field, says]);
    }
}

#[test]
fn a_model_that_cannot_be_built_is_refused_by_its_kind() {
    for (architecture, field, kind) in [
        ("Qwen2VLForConditionalGeneration", "vision_config", "images"),
        ("LlavaForConditionalGeneration", "vision_config", "images"),
        ("DebertaForSequenceClassification", "", "encoder of a family"),
        ("DistilBertForSequenceClassification", "", "encoder of a family"),
        ("T5ForSequenceClassification", "", "encoder beside its decoder"),
        ("MambaForCausalLM", "", "recurrent state"),
        ("Qwen3NextForCausalLM", "linear_num_key_heads", "recurrent state"),
        ("Qwen3_5ForConditionalGeneration", "vision_config", "recurrent state"),
        ("Qwen3_5MoeForCausalLM", "num_experts", "recurrent state"),
        ("DeepseekV3ForCausalLM", "n_routed_experts", "mixture of experts"),
        ("Qwen2ForTokenClassification", "", "each token"),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.set("architectures", json!([architecture])).set("model_type", json!(null));
        if !field.is_empty() {
            checkpoint.set(field, json!({}));
        }
        assert_names(&checkpoint.refusal(), &[architecture, kind, "known are"]);
    }
}
