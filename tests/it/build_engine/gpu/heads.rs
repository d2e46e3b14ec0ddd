//! Reward heads, as TensorRT-LLM and the server compute them.

use std::path::PathBuf;

use assay::builder::Silent;
use assay::builder::trtllm::{TrtllmBuildOptions, build};
use assay::hardware::Gpus;
use assay::manifest::Manifest;
use safetensors::SafeTensors;
use serde_json::json;

use super::{Site, gpus, refused, refused_copy, said};
use crate::build_engine::support::{Checkpoint, assert_names};

#[test]
fn a_head_of_more_rows_than_the_vocabulary_is_refused() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    let labels: serde_json::Map<_, _> =
        (0..641).map(|row| (row.to_string(), json!(format!("label_{row}")))).collect();
    checkpoint.set("id2label", labels.into());
    checkpoint.retensor(|tensors| {
        let (_, shape, bytes) = tensors.get_mut("score.weight").unwrap();
        let row = bytes.len() / shape[0];
        *bytes = bytes[..row].repeat(641);
        shape[0] = 641;
    });
    let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
    assert_names(&sentence, &["LlamaForSequenceClassification", "641 rows", "640", "--target cpu"]);
}

#[test]
fn heads_with_biases_or_further_layers_bring_what_the_server_computes() {
    for (name, tensors) in [
        ("nemo-tiny", &["head.0_bias"][..]),
        ("math-rm-tiny", &["head.0_bias", "head.1", "head.1_bias"]),
        ("math-prm-tiny", &["head.0_bias", "head.1", "head.1_bias"]),
        ("armo-tiny", &["gating.0_bias", "gating.1", "gating.1_bias", "gating.3"]),
    ] {
        let site = Site::new(name);
        let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
        said(&site.build("", &["--tp", "2"]));
        let written = ["--tp", "2", "--checkpoint-only"];
        said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
        said(&site.command(&kept, &again, "", &[]).output().unwrap());
        let manifest = Manifest::read(&site.output()).unwrap();
        assert_eq!(Manifest::read(&again).unwrap(), manifest);
        manifest.verify(&site.output()).unwrap();
        assert_eq!(manifest.files.len(), 2 + 4);
        let bytes = std::fs::read(site.output().join("head.safetensors")).unwrap();
        let head = SafeTensors::deserialize(&bytes).unwrap();
        assert!(tensors.iter().all(|name| head.tensor(name).is_ok()), "{:?}", head.names());

        std::fs::remove_file(site.output().join("head.safetensors")).unwrap();
        assert_names(
            &manifest.verify(&site.output()).unwrap_err().to_string(),
            &["head.safetensors", "missing"],
        );
    }
}

#[test]
fn a_small_head_has_its_own_rows_and_the_engine_says_how_wide_its_logits_are() {
    let site = Site::new("llama3-tiny");
    let options = ["--tp", "2", "--small-head"];
    let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
    let said_of_it = said(&site.build("", &options));
    assert_names(&said_of_it, &["Qwen2ForSequenceClassification"]);
    assert!(!std::fs::read_to_string(site.log()).unwrap().contains("reduce_fusion"));
    let written = [&options[..], &["--checkpoint-only"]].concat();
    said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
    said(&site.command(&kept, &again, "", &[]).output().unwrap());
    let manifest = Manifest::read(&site.output()).unwrap();
    manifest.verify(&site.output()).unwrap();
    assert_eq!(Manifest::read(&again).unwrap(), manifest);
    assert_eq!(gpus(&manifest).lm_head_rows, Some(64));
    let config = |path: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap()
    };
    let (checkpoint, engine) = (config(kept), config(site.output()));
    assert_eq!((&checkpoint["vocab_size"], &checkpoint["num_labels"]), (&json!(640), &json!(64)));
    assert_eq!(engine["pretrained_config"]["vocab_size"], 64);
    assert_eq!(engine["pretrained_config"]["architecture"], "Qwen2ForSequenceClassification");
    assert_eq!(
        (&engine["version"], &engine["build_config"]["max_batch_size"]),
        (&json!("1.2.1"), &json!(64))
    );
}

#[test]
fn small_heads_are_refused_if_the_library_has_no_form_for_them() {
    let small = |options: &mut TrtllmBuildOptions| options.gpu.small_head = true;
    assert_names(&refused("gemma2-tiny", "h100", small), &["--small-head", "Llama's and Qwen's", "Gemma 2"]);
    let quantized = |options: &mut TrtllmBuildOptions| {
        small(options);
        options.gpu.quantized = Some("exported".into());
    };
    assert_names(&refused("llama3-tiny", "h100", quantized), &["--small-head", "--quantized"]);
}

#[test]
fn the_bias_of_a_head_is_that_of_its_rows_minus_that_of_the_subtracted_row() {
    let checkpoint = Checkpoint::wide("nemo-tiny");
    let head = checkpoint.beside("head.yaml");
    std::fs::write(&head, "{rows: [4, 6], minus: 1, attributes: [a, b]}").unwrap();
    let mut options = TrtllmBuildOptions::new(checkpoint.path(), "h100", checkpoint.beside("written"));
    options.gpu.checkpoint_only = true;
    options.common.checkpoint.head = Some(head);
    build(&options, &Gpus::default(), &Silent).unwrap();
    let (_, _, bytes) = &checkpoint.tensors("model.safetensors")["score.bias"];
    // In bf16, the upper half of an f32.
    let number = |&[low, high]: &[u8; 2]| f32::from_le_bytes([0, 0, low, high]);
    let bias: Vec<f32> = bytes.as_chunks::<2>().0.iter().map(number).collect();
    let head = std::fs::read(checkpoint.beside("written").join("head.safetensors")).unwrap();
    let head = SafeTensors::deserialize(&head).unwrap();
    let written = head.tensor("head.0_bias").unwrap();
    let written: Vec<f32> =
        written.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(written, [bias[4] - bias[1], bias[6] - bias[1]]);
}
