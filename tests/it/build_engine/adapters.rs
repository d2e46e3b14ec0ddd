//! Adapters are merged as peft merges them.

use std::path::{Path, PathBuf};

use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildError, BuildOptions, Silent};
use assay::engine::EngineOptions;
use assay::manifest::{Dtype, Manifest};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_names, copy_into, read_tensors, write_tensors};
use crate::support::Driver;
use crate::support::golden::Golden;

/// A base model and an adapter of `tests/adapters`, in directories of their own.
struct Adapted {
    base: Checkpoint,
}

impl Adapted {
    fn copy(base: &str, adapter: &str) -> Self {
        let base = Checkpoint::copy(base);
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters").join(adapter);
        copy_into(&original, &base.beside("adapter"));
        Self { base }
    }

    fn adapter(&self) -> PathBuf {
        self.base.beside("adapter")
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let path = self.adapter().join("adapter_config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
        self
    }

    fn build(&self, change: impl FnOnce(&mut BuildOptions)) -> Result<Manifest, BuildError> {
        let mut options = self.base.options(Dtype::F32);
        options.common.checkpoint.adapter = Some(self.adapter());
        change(&mut options.common);
        build(&options, &Silent)
    }

    fn refusal(&self) -> String {
        self.build(|_| {}).expect_err("it was built").to_string()
    }

    /// The largest distance of the engine's scores from those of peft's merged model.
    fn distance(&self, manifest: &Manifest, golden: &str) -> f32 {
        let mut driver = Driver::start(&self.base.beside("engine"), manifest, EngineOptions::default());
        let mut largest = 0.0f32;
        for case in Golden::read(golden).cases {
            let scores = driver.read(&case.ids, &[case.ids.len() - 1]);
            assert_eq!(scores.len(), case.f32.len());
            for (ours, theirs) in scores.iter().zip(&case.f32) {
                largest = largest.max((ours - theirs).abs());
            }
        }
        largest
    }
}

/// Rounding in f32, of scores of about 1.
const ROUNDING: f32 = 2e-5;

fn merged_as_peft_does(base: &str, adapter: &str, head: Option<&str>) {
    let adapted = Adapted::copy(base, adapter);
    let file = adapted.base.beside("rows.yaml");
    std::fs::write(&file, head.unwrap_or_default()).unwrap();
    let manifest = adapted.build(|options| options.checkpoint.head = head.map(|_| file)).unwrap();
    let distance = adapted.distance(&manifest, adapter);
    println!("{adapter}: within {distance:.1e} of peft");
    assert!(distance < ROUNDING, "{adapter}: {distance}");
}

#[test]
fn ranks_and_factors_given_by_pattern_are_merged() {
    merged_as_peft_does("lm-head-tiny", "lora-classifier", None);
}

#[test]
fn factors_by_the_root_of_the_rank_are_merged() {
    merged_as_peft_does("lm-head-tiny", "lora-rslora", None);
}

#[test]
fn dora_on_matrices_and_on_the_embedding_is_merged() {
    merged_as_peft_does("lm-head-tiny", "lora-dora", None);
}

#[test]
fn an_embedding_and_a_language_head_are_merged() {
    merged_as_peft_does("lm-head-tiny", "lora-embedding", Some("rows: [420, 17]"));
}

#[test]
fn changes_of_fused_matrices_are_merged() {
    merged_as_peft_does("phi3-tiny", "lora-fused", None);
}

#[test]
fn changes_of_matrices_that_are_stored_transposed_are_merged() {
    merged_as_peft_does("gpt2-tiny", "lora-transposed", None);
}

#[test]
fn dora_on_matrices_that_are_stored_transposed_is_merged() {
    merged_as_peft_does("gpt2-tiny", "dora-transposed", None);
}

#[test]
fn biases_of_the_model_and_of_the_adapter_are_merged() {
    merged_as_peft_does("llama2-tiny", "lora-bias", None);
}

#[test]
fn an_embedding_with_new_tokens_has_the_adapters_rows() {
    merged_as_peft_does("lm-head-tiny", "lora-new-tokens", Some("rows: [642]"));
}

#[test]
fn an_adapter_finds_its_base_model_by_path_or_in_the_same_directory() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    adapted.edit(|config| config["base_model_name_or_path"] = json!("../lm-head-tiny"));
    let build_at = |model: PathBuf| {
        let output = adapted.base.beside("engine");
        let _ = std::fs::remove_dir_all(&output);
        let mut options = CpuBuildOptions::new(model, &output);
        options.dtype = Some(Dtype::F32);
        let manifest = build(&options, &Silent).unwrap();
        adapted.distance(&manifest, "lora-classifier")
    };
    assert!(build_at(adapted.adapter()) < ROUNDING);
    copy_into(&adapted.adapter(), &adapted.base.path());
    assert!(build_at(adapted.base.path()) < ROUNDING);
}

#[test]
fn the_engine_is_named_after_the_adapter_and_takes_its_tokenizer() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    std::fs::write(adapted.adapter().join("chat_template.jinja"), template).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(adapted.base.file(file), adapted.adapter().join(file)).unwrap();
    }
    let manifest = adapted.build(|_| {}).unwrap();
    assert_eq!(manifest.model.name, "adapter");
    assert_eq!(manifest.model.architecture, "LlamaForSequenceClassification");
    let written = std::fs::read_to_string(adapted.base.beside("engine/chat_template.jinja")).unwrap();
    assert_eq!(written, template);
}

#[test]
fn tensors_that_a_trainer_saved_under_pefts_own_names_are_merged() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-dora");
    adapted.base.rewrite(&adapted.adapter().join("adapter_model.safetensors"), |name| {
        let name = name.replace("lora_A.weight", "lora_A.default.weight");
        let name = name.replace("lora_B.weight", "lora_B.default.weight");
        let name = name.replace("lora_magnitude_vector", "lora_magnitude_vector.default.weight");
        let name = name.replace("score.weight", "score.modules_to_save.default.weight");
        name.replace("base_model.model", "_orig_mod.module.base_model.model")
    });
    let manifest = adapted.build(|_| {}).unwrap();
    assert!(adapted.distance(&manifest, "lora-dora") < ROUNDING);
}

#[test]
fn adapters_that_cannot_be_merged_are_refused_by_what_they_are() {
    for (field, value, parts) in [
        ("peft_type", json!("IA3"), &["IA3"][..]),
        ("peft_type", json!("ADALORA"), &["ADALORA"]),
        ("peft_type", json!(null), &["missing"]),
        ("init_lora_weights", json!("pissa_niter_16"), &["pissa_niter_16", "path_initial_model"]),
        ("init_lora_weights", json!("olora"), &["olora"]),
        ("layer_replication", json!([[0, 2], [1, 2]]), &["merge_and_unload"]),
        ("alora_invocation_tokens", json!([1, 2]), &["merge_and_unload"]),
        ("trainable_token_indices", json!([3]), &["merge_and_unload"]),
        ("target_parameters", json!(["mlp.experts"]), &["merge_and_unload"]),
        ("use_qalora", json!(true), &["merge_and_unload"]),
        ("rank_pattern", json!({"q_proj": 3}), &["rank"]),
        ("rank_pattern", json!({"q_proj": "x"}), &["q_proj"]),
        ("alpha_pattern", json!({"(": 3}), &["pattern"]),
        ("r", json!(5), &["rank"]),
        ("r", json!(0), &["0"]),
        ("lora_alpha", json!("x"), &["\"x\""]),
    ] {
        let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
        let sentence = adapted.edit(|config| config[field] = value).refusal();
        let field = if field == "r" || field == "rank_pattern" { "adapter_config.json" } else { field };
        assert_names(&sentence, &["adapter_config.json", field]);
        assert_names(&sentence, parts);
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_with_the_tensor() {
    let other = Adapted::copy("qwen2-tiny", "lora-classifier");
    assert_names(
        &other.refusal(),
        &["model.layers.0.mlp.down_proj.weight", "[32, 48]", "another base model"],
    );

    let fused = Adapted::copy("lm-head-tiny", "lora-fused");
    assert_names(&fused.refusal(), &["gate_up_proj.weight", "adapter", "model.safetensors"]);

    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    let file = adapted.adapter().join("adapter_model.safetensors");
    adapted.base.rewrite(&file, |name| name.replace("lora_B", "lora_C"));
    assert_names(&adapted.refusal(), &["lora_C", "merge_and_unload"]);

    std::fs::remove_file(&file).unwrap();
    assert_names(&adapted.refusal(), &["adapter_model.safetensors", "adapter_config.json"]);
    std::fs::write(adapted.adapter().join("adapter_model.bin"), "PK").unwrap();
    assert_names(&adapted.refusal(), &["adapter_model.bin", "PyTorch", "bin_to_safetensors.py"]);
    std::fs::remove_file(adapted.adapter().join("adapter_config.json")).unwrap();
    assert_names(&adapted.refusal(), &["adapter_model.bin", "adapter_config.json"]);
}

/// Peft leaves them out.
#[test]
fn changes_of_modules_that_the_configuration_does_not_train_are_refused() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    let sentence = adapted.edit(|config| config["target_modules"] = json!(["q_proj"])).refusal();
    assert_names(&sentence, &["adapter_config.json", "target_modules", "model.layers.0.", "peft"]);
}

#[test]
fn a_directory_without_an_adapter_is_not_called_a_checkpoint() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::remove_file(adapted.adapter().join(file)).unwrap();
    }
    assert_names(&adapted.refusal(), &["--adapter", "no adapter_config.json"]);
}

#[test]
fn the_bias_of_an_adapter_on_a_layer_without_one_is_refused() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    adapted.edit(|config| config["lora_bias"] = json!(true));
    let file = adapted.adapter().join("adapter_model.safetensors");
    let mut tensors = read_tensors(&file);
    let (name, matrix) = tensors.iter().find(|(name, _)| name.ends_with("lora_B.weight")).unwrap();
    let (name, (dtype, shape, _)) = (name.replace("B.weight", "B.bias"), matrix);
    let zeros = (*dtype, vec![shape[0]], vec![0; shape[0] * dtype.bitsize() / 8]);
    tensors.insert(name, zeros);
    write_tensors(&file, &tensors);
    assert_names(&adapted.refusal(), &["_proj.bias", "lora_bias", "no bias in", "model.safetensors"]);
}

#[test]
fn an_adapter_whose_base_model_is_missing_names_it() {
    let adapted = Adapted::copy("lm-head-tiny", "lora-classifier");
    for (base, parts) in [
        (json!("acme/no-such-model"), &["acme/no-such-model", "hf download", "--adapter"][..]),
        (json!(null), &["base_model_name_or_path", "--adapter"]),
    ] {
        adapted.edit(|config| config["base_model_name_or_path"] = base);
        let options = CpuBuildOptions::new(adapted.adapter(), adapted.base.beside("engine"));
        let sentence = build(&options, &Silent).unwrap_err().to_string();
        assert_names(&sentence, &["adapter_config.json"]);
        assert_names(&sentence, parts);
    }
}

#[test]
fn a_value_head_in_a_file_of_its_own_is_the_head() {
    let checkpoint = Checkpoint::copy("trl-tiny");
    let before = checkpoint.build(Dtype::F32).unwrap();
    checkpoint.split_head("v_head.", "value_head.safetensors");
    std::fs::remove_dir_all(checkpoint.beside("engine")).unwrap();
    let after = checkpoint.build(Dtype::F32).unwrap();
    assert_eq!(after.files, before.files);

    std::fs::remove_file(checkpoint.file("value_head.safetensors")).unwrap();
    std::fs::write(checkpoint.file("value_head.bin"), "PK").unwrap();
    assert_names(&checkpoint.refusal(), &["value_head.bin", "bin_to_safetensors.py"]);
    for part in ["regression_layer.pt", "gating_layer.pt"] {
        let checkpoint = Checkpoint::copy("ldl-tiny");
        let converted = checkpoint.file(part).with_extension("safetensors");
        std::fs::rename(converted, checkpoint.file(part)).unwrap();
        assert_names(&checkpoint.refusal(), &[part, "PyTorch", "bin_to_safetensors.py"]);
    }
}

/// As LLaMA-Factory and ms-swift save the adapter of a reward model.
#[test]
fn a_value_head_beside_an_adapter_is_the_head() {
    let adapted = Adapted::copy("trl-tiny", "lora-classifier");
    adapted.edit(|config| config["task_type"] = json!("CAUSAL_LM"));
    let file = adapted.adapter().join("adapter_model.safetensors");
    let mut tensors = super::support::read_tensors(&file);
    tensors.retain(|name, _| !name.contains("score"));
    super::support::write_tensors(&file, &tensors);
    adapted.base.split_head("v_head.", "value_head.safetensors");
    std::fs::rename(
        adapted.base.file("value_head.safetensors"),
        adapted.adapter().join("value_head.safetensors"),
    )
    .unwrap();
    let manifest = adapted.build(|_| {}).unwrap();
    assert_eq!((manifest.head.attributes, manifest.head.bias), (vec!["reward".to_owned()], true));
    std::fs::remove_file(adapted.adapter().join("value_head.safetensors")).unwrap();
    std::fs::remove_dir_all(adapted.base.beside("engine")).unwrap();
    assert_eq!(adapted.build(|_| {}).unwrap().task, assay::manifest::Task::Chat);
}
