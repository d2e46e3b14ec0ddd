//! Checkpoints that cannot be built: each is refused with a sentence that names the culprit.

use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildOptions, Silent};
use assay::manifest::{Dtype, Task};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names};

/// Options to build it in f32, changed.
pub(super) fn with(checkpoint: &Checkpoint, change: impl FnOnce(&mut BuildOptions)) -> CpuBuildOptions {
    let mut options = checkpoint.options(Dtype::F32);
    change(&mut options.common);
    options
}

/// Sets one field of llama3-tiny's config.json; the refusal must name the file, the field and these.
fn config_refused(field: &str, value: Value, parts: &[&str]) {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let sentence = checkpoint.set(field, value).refusal();
    assert_names(&sentence, &["config.json", field]);
    assert_names(&sentence, parts);
}

#[test]
fn an_unknown_architecture_is_refused_with_those_that_are_known() {
    let known = ["ForSequenceClassification", "Llama", "Gemma2", "InternLM2ForRewardModel"];
    for other in ["MambaForSequenceClassification", "LlamaForTokenClassification"] {
        config_refused("architectures", json!([other]), &[&[other], &known[..]].concat());
    }
    config_refused("architectures", json!(null), &["missing"]);
}

/// Reward models of other kinds than decoders, and of decoders that are not supported.
#[test]
fn reward_models_of_other_families_are_refused_by_name() {
    for (architecture, model_type) in [
        ("DebertaForSequenceClassification", "deberta"),
        ("ElectraForSequenceClassification", "electra"),
        ("T5ForSequenceClassification", "t5"),
        ("GptOssForSequenceClassification", "gpt_oss"),
        ("DeepseekV3ForSequenceClassification", "deepseek_v3"),
        ("LlavaForConditionalGeneration", "llava"),
        ("Qwen2ForTokenClassification", "qwen2"),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.set("model_type", json!(model_type)).set("architectures", json!([architecture]));
        assert_names(&checkpoint.refusal(), &["config.json", "architectures", architecture]);
    }
}

#[test]
fn settings_that_would_change_the_scores_are_refused() {
    config_refused("hidden_act", json!("gelu"), &["gelu", "silu"]);
    config_refused("quantization_config", json!({"quant_method": "awq", "bits": 4}), &["awq"]);
    config_refused(
        "compression_config",
        json!({"quant_method": "compressed-tensors"}),
        &["compressed-tensors"],
    );
    config_refused("use_bidirectional_attention", json!(true), &["causal"]);
    // Transformers takes null for false.
    for value in [json!(false), json!(null)] {
        config_refused("is_causal", value, &["tokens that follow", "causal"]);
    }
    config_refused(
        "layer_types",
        json!(["full_attention", "linear_attention", "full_attention"]),
        &["linear_attention"],
    );
    config_refused("partial_rotary_factor", json!(0.5), &["0.5"]);
}

#[test]
fn a_language_model_is_refused_if_nothing_says_which_logits_are_scores() {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    let options = with(&checkpoint, |options| options.checkpoint.task = Some(Task::Reward));
    let sentence = build(&options, &Silent).unwrap_err().to_string();
    assert_names(&sentence, &["architectures", "--head", "rows"]);
}

#[test]
fn tasks_that_the_checkpoint_cannot_do_are_refused() {
    for (name, task, parts) in [
        ("llama3-tiny", Task::Chat, &["--task chat", "LlamaForSequenceClassification"][..]),
        ("trl-tiny", Task::Completion, &["--task completion", "LlamaForCausalLM"]),
    ] {
        let checkpoint = Checkpoint::copy(name);
        let options = with(&checkpoint, |options| options.checkpoint.task = Some(task));
        assert_names(&build(&options, &Silent).unwrap_err().to_string(), parts);
    }
}

#[test]
fn head_files_that_do_not_fit_the_head_are_refused() {
    let checkpoint = Checkpoint::copy("lm-head-tiny");
    let file = checkpoint.beside("head.yaml");
    for (text, parts) in [
        ("rows: [99999]", &["99999", "lm_head.weight"][..]),
        ("rows: [1, 2]\nattributes: [a]", &["rows", "attributes"]),
        ("rows: [1]\nattributes: ['a:b']", &["a:b"]),
        ("rows: []", &["rows"]),
        ("logits: [1]", &["logits"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let options = with(&checkpoint, |options| options.checkpoint.head = Some(file.clone()));
        let sentence = build(&options, &Silent).unwrap_err().to_string();
        assert_names(&sentence, &["--head", "head.yaml"]);
        assert_names(&sentence, parts);
    }
}

#[test]
fn checkpoints_that_lack_tensors_of_their_head_are_refused() {
    for (name, tensor) in [
        ("trl-tiny", "v_head.summary.weight"),
        ("math-rm-tiny", "score.0.bias"),
        ("openrlhf-tiny", "value_head.weight"),
        ("nemo-tiny", "score.weight"),
        ("math-prm-tiny", "score.2.weight"),
        ("armo-tiny", "gating.layers.1.bias"),
        ("armo-tiny", "reward_transform_matrix"),
        ("armo-tiny", "gating.logit_scale"),
        ("internlm2-tiny", "v_head.weight"),
    ] {
        let checkpoint = Checkpoint::copy(name);
        checkpoint.retensor(|tensors| drop(tensors.remove(tensor)));
        let sentence = checkpoint.refusal();
        let named = [tensor, "score.weight", "lm_head.weight", "--head"];
        assert!(named.iter().any(|part| sentence.contains(part)), "{tensor}: {sentence}");
    }
}

#[test]
fn a_checkpoint_that_mixes_families_is_refused() {
    config_refused("model_type", json!("gemma2"), &["gemma2", "LlamaForSequenceClassification", "llama"]);
}

#[test]
fn rotary_scalings_that_are_unknown_or_incomplete_are_refused() {
    for kind in ["mrope", "proportional"] {
        config_refused("rope_scaling", json!({"type": kind, "factor": 2.0}), &[kind, "yarn", "llama3"]);
    }
    config_refused("rope_scaling", json!({"type": "su"}), &["rope_scaling.short_factor", "missing"]);
    config_refused("rope_scaling", json!({"type": "dynamic"}), &["rope_scaling.factor", "missing"]);
    let long = json!({"rope_type": "longrope", "short_factor": [1.0, 0.0], "long_factor": [1.0]});
    config_refused("rope_scaling", long, &["rope_scaling.short_factor", "above 0"]);
    let long = json!({"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0]});
    config_refused("rope_scaling", long, &["rope_scaling.short_factor", "2 factors for 8"]);
    config_refused("rope_scaling", json!({"rope_type": "linear"}), &["rope_scaling.factor", "missing"]);
    config_refused("rope_scaling", json!({"rope_type": "yarn", "factor": 0.5}), &["rope_scaling.factor"]);
    let yarn = json!({"rope_type": "yarn", "original_max_position_embeddings": 64});
    config_refused("rope_scaling", yarn, &["rope_scaling.factor", "missing"]);
    config_refused("rope_theta", json!(null), &["null", "remove the field"]);
    let upside_down =
        json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1});
    config_refused("rope_scaling", upside_down, &["high_freq_factor"]);
}

#[test]
fn impossible_sizes_are_refused() {
    config_refused("hidden_size", json!(0), &["0"]);
    config_refused("hidden_size", json!("64"), &["\"64\""]);
    config_refused("num_hidden_layers", json!(-1), &["-1"]);
    config_refused("vocab_size", json!(u64::MAX), &[]);
    config_refused("num_key_value_heads", json!(3), &["3", "4"]);
    config_refused("num_attention_heads", json!(6), &["64", "6"]);
    config_refused("head_dim", json!(15), &["15", "even"]);
    config_refused("intermediate_size", json!(null), &["missing"]);
}

#[test]
fn labels_that_would_break_a_score_text_are_refused() {
    for label in ["very helpful", "a,b", "a:b", "", "tab\there"] {
        config_refused("id2label", json!({"0": label}), &[&format!("{label:?}"), "rename"]);
    }
    config_refused("id2label", json!({"0": "Good", "1": "good"}), &["good", "rename"]);
    config_refused("id2label", json!({"0": "good", "2": "bad"}), &["from 0"]);
    config_refused("id2label", json!({}), &["from 0"]);
}

#[test]
fn no_setting_of_any_value_goes_unexplained() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(0.3),
        json!(1e300),
        json!(u64::MAX),
        json!("x"),
        json!([]),
        json!({}),
        json!(["x"]),
        json!({"0": "x"}),
    ];
    for name in ["llama3-tiny", "qwen2-yarn"] {
        let checkpoint = Checkpoint::copy(name);
        // Every fault is found before the output is opened, which could never be written.
        std::fs::create_dir_all(checkpoint.beside("engine").join("taken")).unwrap();
        let original = std::fs::read(checkpoint.file("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&original).unwrap();
        let top = config.as_object().unwrap().keys().map(|field| format!("/{field}"));
        let rope = config["rope_scaling"].as_object().unwrap().keys();
        for pointer in top.chain(rope.map(|field| format!("/rope_scaling/{field}"))) {
            for value in &values {
                let mut config = config.clone();
                *config.pointer_mut(&pointer).unwrap() = value.clone();
                std::fs::write(checkpoint.file("config.json"), config.to_string()).unwrap();
                let sentence = checkpoint.build(Dtype::F32).unwrap_err().to_string();
                let explained = sentence.contains("config.json") || sentence.contains("not empty");
                assert!(explained, "{pointer} {value}: {sentence}");
            }
        }
    }
}

#[test]
fn a_tokenizer_that_is_cut_off_or_damaged_is_refused() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let whole = std::fs::read_to_string(checkpoint.file("tokenizer.json")).unwrap();
    let decoder = whole.find("\"decoder\"").unwrap();
    std::fs::write(checkpoint.file("tokenizer.json"), &whole[..decoder + 20]).unwrap();
    assert_names(&checkpoint.refusal(), &["tokenizer.json", "EOF"]);
    let damaged = whole.replace("\"normalizer\": null", "\"normalizer\": {\"type\": \"Precompiled\"}");
    assert_ne!(damaged, whole);
    std::fs::write(checkpoint.file("tokenizer.json"), damaged).unwrap();
    assert_names(&checkpoint.refusal(), &["tokenizer.json", "it is not a valid tokenizer"]);
    let nameless = whole.replace("\"special_tokens\": {", "\"special_tokens\": {}, \"unused\": {");
    assert_ne!(nameless, whole);
    std::fs::write(checkpoint.file("tokenizer.json"), nameless).unwrap();
    assert_names(&checkpoint.refusal(), &["tokenizer.json", "<|begin_of_text|>", "special_tokens"]);
}

#[test]
fn a_template_that_writes_a_token_without_a_row_in_the_embedding_is_refused() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.set("vocab_size", json!(624)).retensor(|tensors| {
        let (_, shape, bytes) = tensors.get_mut("model.embed_tokens.weight").unwrap();
        *shape = vec![624, 64];
        bytes.truncate(624 * 64 * 4);
    });
    let sentence = checkpoint.refusal();
    assert_names(&sentence, &["tokenizer_config.json", "chat template", "<|eot_id|>", "id 624", "624 rows"]);
}

#[test]
fn named_templates_without_a_default_are_refused() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.edit("tokenizer_config.json", |config| {
        config["chat_template"] = json!([{"name": "tool_use", "template": "x"}]);
    });
    assert_names(&checkpoint.refusal(), &["tokenizer_config.json", "chat_template", "tool_use", "default"]);
}

#[test]
fn a_chat_template_that_cannot_be_compiled_is_refused() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let broken = "{% for message in messages %}{{ message.content }}";
    checkpoint.edit("tokenizer_config.json", |config| config["chat_template"] = json!(broken));
    assert_names(&checkpoint.refusal(), &["tokenizer_config.json"]);
    std::fs::write(checkpoint.file("chat_template.jinja"), broken).unwrap();
    assert_names(&checkpoint.refusal(), &["chat_template.jinja"]);
}

#[test]
fn a_chat_template_that_fails_returns_nothing_or_never_ends_is_refused() {
    for (template, words) in [
        ("{{ messages[0].content.nothing.at_all }}", "cannot render"),
        ("{{ unknown_function() }}", "cannot render"),
        ("{% for m in messages if false %}x{% endfor %}", "prompt is empty"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "ran for too long",
        ),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
        assert_names(&checkpoint.refusal(), &["chat_template.jinja", "question and its answer", words]);
    }
}

#[test]
fn a_chat_template_that_refuses_in_its_own_words_is_accepted() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let template = "{{ raise_exception('a system turn is needed') }}";
    std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
    checkpoint.build(Dtype::F32).unwrap();
}

#[test]
fn labels_that_do_not_match_the_number_of_the_heads_rows_are_refused() {
    for labels in [json!({"0": "a"}), json!({"0": "a", "1": "b", "2": "c"})] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        let count = format!("{} labels", labels.as_object().unwrap().len());
        let sentence = checkpoint.set("id2label", labels).refusal();
        assert_names(&sentence, &["id2label", &count, "score.weight", "[5, 64]", "--head"]);
    }
}

#[test]
fn lengths_beyond_the_models_positions_are_refused() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    for (max_seq_len, part) in [(1025, "1024"), (0, "at least 1")] {
        let options = with(&checkpoint, |options| options.max_seq_len = Some(max_seq_len));
        let sentence = build(&options, &Silent).unwrap_err().to_string();
        assert_names(&sentence, &["--max-seq-len", part]);
    }
}
