//! Checkpoints that ModelOpt quantized.

use std::path::Path;

use assay::builder::Silent;
use assay::builder::trtllm::{Outcome, TrtllmBuildOptions, build};
use assay::hardware::Gpus;
use safetensors::SafeTensors;
use serde_json::json;

use super::refused_copy;
use crate::build_engine::support::{Checkpoint, assert_names};

#[test]
fn layers_that_modelopt_quantized_are_taken_and_the_head_is_the_reward_models() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    let write = |output: &str, change: &dyn Fn(&mut TrtllmBuildOptions)| {
        let mut options = TrtllmBuildOptions::new(checkpoint.path(), "h100", checkpoint.beside(output));
        options.gpu.tensor_parallel = 2;
        options.gpu.checkpoint_only = true;
        change(&mut options);
        build(&options, &Gpus::default(), &Silent)
    };
    assert!(matches!(write("ours", &|_| {}), Ok(Outcome::Checkpoint(2))));
    // As modelopt would leave it: another lm_head, its scales, and an algorithm that needs calibration.
    let exported = checkpoint.beside("exported");
    std::fs::create_dir(&exported).unwrap();
    let config = std::fs::read(checkpoint.beside("ours").join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["quantization"] = json!({ "quant_algo": "FP8", "exclude_modules": ["router"] });
    let files: Vec<Vec<u8>> = (0..2)
        .map(|rank| std::fs::read(checkpoint.beside("ours").join(format!("rank{rank}.safetensors"))).unwrap())
        .collect();
    for (rank, bytes) in files.iter().enumerate() {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let scale = 1f32.to_le_bytes();
        let scale = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &scale).unwrap();
        let mut changed: Vec<_> = tensors.iter().filter(|(name, _)| *name != "lm_head.weight").collect();
        let embedding = tensors.tensor("transformer.vocab_embedding.weight").unwrap();
        changed.push(("lm_head.weight", embedding));
        changed.push(("lm_head.weights_scaling_factor", scale));
        let bytes = safetensors::serialize(changed, None).unwrap();
        std::fs::write(exported.join(format!("rank{rank}.safetensors")), bytes).unwrap();
    }
    std::fs::write(exported.join("config.json"), config.to_string()).unwrap();

    let taken =
        |options: &mut TrtllmBuildOptions| options.gpu.quantized = Some(checkpoint.beside("exported"));
    assert!(matches!(write("taken", &taken), Ok(Outcome::Checkpoint(2))));
    for (rank, expected) in files.iter().enumerate() {
        let bytes =
            std::fs::read(checkpoint.beside("taken").join(format!("rank{rank}.safetensors"))).unwrap();
        let (found, expected) =
            (SafeTensors::deserialize(&bytes).unwrap(), SafeTensors::deserialize(expected).unwrap());
        assert_eq!(found.len(), expected.len(), "lm_head's scales are gone");
        for (name, tensor) in expected.iter() {
            assert_eq!(found.tensor(name).unwrap().data(), tensor.data(), "{name}");
        }
    }
    let config = std::fs::read_to_string(checkpoint.beside("taken").join("config.json")).unwrap();
    assert_names(&config, &["\"FP8\"", "\"router\"", "\"lm_head\""]);

    let a100 = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.target = "a100".to_owned();
    };
    assert_names(&write("refused", &a100).unwrap_err().to_string(), &["A100", "fp8"]);
    let b200 = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.target = "b200".to_owned();
    };
    assert!(matches!(write("blackwell", &b200), Ok(Outcome::Checkpoint(2))));
    let config_file = checkpoint.beside("exported").join("config.json");
    let awq = std::fs::read_to_string(&config_file).unwrap().replace("\"FP8\"", "\"W4A16_AWQ\"");
    std::fs::write(config_file, awq).unwrap();
    assert_names(&write("refused", &b200).unwrap_err().to_string(), &["W4A16_AWQ", "B200", "NVFP4"]);
    let one_rank = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.gpu.tensor_parallel = 1;
    };
    assert_names(&write("refused", &one_rank).unwrap_err().to_string(), &["mapping.tp_size", "--tp 2"]);
    // Other names of an architecture belong to other families.
    config_of(&exported, |config| config["architecture"] = json!("MistralForCausalLM"));
    assert_names(&write("refused", &taken).unwrap_err().to_string(), &["architecture", "LlamaForCausalLM"]);
    config_of(&exported, |config| config["architecture"] = json!("LlamaForCausalLM"));
    config_of(&exported, |config| config["hidden_size"] = json!(128));
    assert_names(&write("refused", &taken).unwrap_err().to_string(), &["hidden_size", "128", "64"]);
}

fn config_of(directory: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = directory.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_checkpoint_in_modelopts_own_form_is_refused_with_the_form_that_works() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    std::fs::write(checkpoint.file("hf_quant_config.json"), "{}").unwrap();
    let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
    assert_names(&sentence, &["modelopt", "--quantized", "quantize.py"]);
}
