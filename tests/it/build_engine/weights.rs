//! Weights that cannot be read, or are not those of the model: each error names the file or the tensor.

use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use serde_json::json;

use super::refused::with;
use super::support::{Checkpoint, assert_names};

#[test]
fn missing_files_are_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        std::fs::remove_file(checkpoint.file(file)).unwrap();
        assert_names(&checkpoint.refusal(), &[file]);
    }
    let checkpoint = Checkpoint::copy("llama3-tiny");
    std::fs::remove_file(checkpoint.file("tokenizer_config.json")).unwrap();
    assert_names(&checkpoint.refusal(), &["chat_template.jinja", "tokenizer_config.json"]);

    let checkpoint = Checkpoint::copy("llama-linear");
    std::fs::remove_file(checkpoint.file("model-00002-of-00002.safetensors")).unwrap();
    assert_names(&checkpoint.refusal(), &["model-00002-of-00002.safetensors", "missing"]);

    let options = with(&checkpoint, |options| options.model = "/no/such/model".into());
    let sentence = build(&options, &Silent).unwrap_err().to_string();
    assert_names(&sentence, &["/no/such/model", "directory"]);
}

#[test]
fn files_that_are_cut_off_or_malformed_are_named() {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        let bytes = std::fs::read(checkpoint.file(file)).unwrap();
        for kept in [bytes.len() - 3, 5, 0] {
            std::fs::write(checkpoint.file(file), &bytes[..kept]).unwrap();
            assert_names(&checkpoint.refusal(), &[file]);
        }
    }
}

#[test]
fn weights_in_another_format_are_refused_with_what_to_do() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let rename = |to: &str| {
        let from = checkpoint.file("model.safetensors");
        if from.exists() {
            std::fs::rename(from, checkpoint.file(to)).unwrap();
        }
        checkpoint.refusal()
    };
    assert_names(&rename("pytorch_model.bin"), &["convert it to safetensors"]);
    std::fs::rename(checkpoint.file("pytorch_model.bin"), checkpoint.file("model.safetensors")).unwrap();
    assert_names(&rename("adapter_model.safetensors"), &["adapter", "merge"]);
}

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    for (tensor, shape) in [
        ("model.embed_tokens.weight", "[640, 64]"),
        ("model.layers.2.self_attn.k_proj.weight", "[32, 64]"),
        ("model.layers.0.mlp.up_proj.weight", "[176, 64]"),
        ("model.norm.weight", "[64]"),
        ("score.weight", "[5, 64]"),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.retensor(|tensors| assert!(tensors.remove(tensor).is_some()));
        assert_names(&checkpoint.refusal(), &["model.safetensors", tensor, "missing", shape]);
    }
    let checkpoint = Checkpoint::copy("qwen2-tiny");
    let bias = "model.layers.1.self_attn.q_proj.bias";
    checkpoint.retensor(|tensors| assert!(tensors.remove(bias).is_some()));
    assert_names(&checkpoint.refusal(), &[bias, "missing", "[112]"]);
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap().1 = vec![176, 64];
    });
    let parts = ["model.layers.1.mlp.down_proj.weight", "[176, 64]", "[64, 176]"];
    assert_names(&checkpoint.refusal(), &parts);

    let labels = Checkpoint::copy("llama3-tiny");
    let sentence = labels.set("id2label", json!({"0": "good", "1": "bad"})).refusal();
    assert_names(&sentence, &["score.weight", "[5, 64]", "[2, 64]"]);
}

#[test]
fn an_unexpected_tensor_is_named() {
    let bias = (safetensors::Dtype::F32, vec![64], vec![0; 256]);
    for unexpected in
        ["model.layers.0.self_attn.q_proj.bias", "model.layers.3.input_layernorm.weight", "v_head.weight"]
    {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.retensor(|tensors| assert!(tensors.insert(unexpected.to_owned(), bias.clone()).is_none()));
        assert_names(&checkpoint.refusal(), &["model.safetensors", unexpected, "unexpected", "[64]"]);
    }
}

#[test]
fn a_tensor_of_another_type_is_refused_by_its_type() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        let (dtype, _, bytes) = tensors.get_mut("model.layers.0.mlp.gate_proj.weight").unwrap();
        *dtype = safetensors::Dtype::I8;
        bytes.truncate(176 * 64);
    });
    assert_names(&checkpoint.refusal(), &["model.layers.0.mlp.gate_proj.weight", "I8", "BF16"]);
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_tensor() {
    let tensors = [
        "model.embed_tokens.weight",
        "model.layers.2.mlp.up_proj.weight",
        "model.norm.weight",
        "score.weight",
    ];
    for (tensor, value) in tensors.into_iter().zip([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]) {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.retensor(|tensors| {
            tensors.get_mut(tensor).unwrap().2[40..44].copy_from_slice(&value.to_le_bytes());
        });
        assert_names(&checkpoint.refusal(), &["model.safetensors", tensor, "element 10", &value.to_string()]);
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let index = "model.safetensors.index.json";
    let checkpoint = Checkpoint::copy("llama-linear");
    checkpoint.edit(index, |index| {
        index["weight_map"]["score.weight"] = json!("model-00001-of-00002.safetensors");
    });
    assert_names(&checkpoint.refusal(), &["score.weight", "model-00001-of-00002.safetensors"]);

    let escaping = Checkpoint::copy("llama-linear");
    escaping.edit(index, |index| index["weight_map"]["score.weight"] = json!("../secret.safetensors"));
    assert_names(&escaping.refusal(), &[index, "../secret.safetensors"]);

    let twice = Checkpoint::copy("llama-linear");
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    std::fs::copy(twice.file(one), twice.file(two)).unwrap();
    assert_names(&twice.refusal(), &[one, two]);
}

#[test]
fn quantized_tensors_are_refused_by_name() {
    for (change, words) in [
        (safetensors::Dtype::I8, ["model.layers.1.mlp.up_proj.weight", "I8"]),
        (safetensors::Dtype::F8_E4M3, ["model.layers.1.mlp.up_proj.weight", "F8_E4M3"]),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.retensor(|tensors| {
            let (dtype, _, bytes) = tensors.get_mut("model.layers.1.mlp.up_proj.weight").unwrap();
            bytes.truncate(bytes.len() / 4);
            *dtype = change;
        });
        assert_names(&checkpoint.refusal(), &words);
    }
    // GPTQ's, whose settings may be in a file of their own.
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        let packed = tensors.remove("model.layers.0.self_attn.q_proj.weight").unwrap();
        tensors.insert("model.layers.0.self_attn.q_proj.qweight".to_owned(), packed);
    });
    assert_names(&checkpoint.refusal(), &["model.layers.0.self_attn.q_proj.weight", "missing"]);
}

#[test]
fn tensors_of_another_family_are_refused_by_name() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        let norm = (safetensors::Dtype::F32, vec![16], vec![0; 64]);
        tensors.insert("model.layers.0.self_attn.q_norm.weight".to_owned(), norm);
    });
    assert_names(&checkpoint.refusal(), &["model.layers.0.self_attn.q_norm.weight", "unexpected"]);
}

#[test]
fn checkpoints_of_other_formats_are_refused_with_the_conversion_to_run() {
    let convert = ["convert_nemotron_nemo_to_hf.py", "--hf_output_path", "docs/models.md"];
    let directory = tempfile::tempdir().unwrap();
    let refusal = |model: std::path::PathBuf| {
        let output = directory.path().join("engine");
        let sentence = build(&CpuBuildOptions::new(model, &output), &Silent).unwrap_err().to_string();
        assert!(!output.exists());
        sentence
    };
    let archive = directory.path().join("nemotron-4-340b-reward.nemo");
    std::fs::write(&archive, "").unwrap();
    assert_names(&refusal(archive), &[&["nemotron-4-340b-reward.nemo"], &convert[..]].concat());
    assert_names(&refusal(directory.path().to_owned()), &convert);
    let unpacked = directory.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    std::fs::write(unpacked.join("model_config.yaml"), "").unwrap();
    assert_names(&refusal(unpacked), &convert);
    let quantized = directory.path().join("quantized");
    std::fs::create_dir(&quantized).unwrap();
    let gguf = quantized.join("judge.gguf");
    std::fs::write(&gguf, "").unwrap();
    for model in [gguf, quantized] {
        assert_names(&refusal(model), &["judge.gguf: it is a GGUF file", "safetensors"]);
    }
}
