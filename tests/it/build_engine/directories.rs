//! Where the files of a checkpoint may be, and files that are not what they should be.

use std::os::unix::fs::symlink;
use std::process::Command;

use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildError, Silent};
use assay::manifest::{Dtype, Manifest};
use serde_json::json;

use super::support::{Checkpoint, assert_names, copy_into};

fn build_at(model: impl Into<std::path::PathBuf>, beside: &Checkpoint) -> Result<Manifest, BuildError> {
    let output = beside.beside("engine");
    let _ = std::fs::remove_dir_all(&output);
    let options = CpuBuildOptions { dtype: Some(Dtype::F32), ..CpuBuildOptions::new(model, output) };
    build(&options, &Silent)
}

#[test]
fn a_repository_in_the_hubs_cache_is_taken_at_its_snapshot() {
    let checkpoint = Checkpoint::copy("qwen2-tiny");
    let root = checkpoint.beside("models--acme--judge");
    let snapshot = root.join("snapshots/0123abcd");
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::create_dir_all(root.join("blobs")).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    for (number, entry) in std::fs::read_dir(checkpoint.path()).unwrap().enumerate() {
        let entry = entry.unwrap();
        let blob = root.join(format!("blobs/{number}"));
        std::fs::copy(entry.path(), &blob).unwrap();
        symlink(format!("../../blobs/{number}"), snapshot.join(entry.file_name())).unwrap();
    }
    assert_eq!(build_at(&root, &checkpoint).unwrap().model.name, "acme/judge");
    std::fs::write(root.join("refs/main"), "0123abcd\n").unwrap();
    std::fs::create_dir(root.join("snapshots/other")).unwrap();
    assert_eq!(build_at(&root, &checkpoint).unwrap().model.name, "acme/judge");

    std::fs::write(root.join("refs/main"), "ffff").unwrap();
    assert_names(&build_at(&root, &checkpoint).unwrap_err().to_string(), &["refs/main", "ffff"]);
    std::fs::remove_file(root.join("refs/main")).unwrap();
    assert_names(&build_at(&root, &checkpoint).unwrap_err().to_string(), &["snapshots", "several"]);
    let sentence = build_at(checkpoint.beside(""), &checkpoint).unwrap_err().to_string();
    assert_names(&sentence, &["cache", "acme/judge"]);

    // An interrupted download leaves links without their files.
    std::fs::remove_dir_all(root.join("blobs")).unwrap();
    assert_names(
        &build_at(&snapshot, &checkpoint).unwrap_err().to_string(),
        &["config.json", "link", "download"],
    );
}

#[test]
fn a_model_is_found_by_name_in_the_cache_that_the_environment_names() {
    let checkpoint = Checkpoint::copy("qwen2-tiny");
    let snapshot = checkpoint.beside("hub/models--acme--judge/snapshots/1");
    copy_into(&checkpoint.path(), &snapshot);
    let run = |model: &str| {
        let output = checkpoint.beside("engine").display().to_string();
        Command::new(env!("CARGO_BIN_EXE_build-engine"))
            .args(["--target", "cpu", "--dtype", "f32", "--model", model, "--output", &output])
            .env("HF_HUB_CACHE", checkpoint.beside("hub"))
            .output()
            .unwrap()
    };
    let built = run("acme/judge");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert!(String::from_utf8_lossy(&built.stderr).contains("acme/judge ("));
    let refused = run("acme/other");
    assert_names(&String::from_utf8_lossy(&refused.stderr), &["acme/other", "hub's cache", "hf download"]);
}

#[test]
fn shards_are_read_without_an_index_and_a_stale_one_is_named() {
    let plain = Checkpoint::copy("llama-linear").build(Dtype::F32).unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let index = "model.safetensors.index.json";
    let checkpoint = Checkpoint::copy("llama-linear");
    std::fs::remove_file(checkpoint.file(index)).unwrap();
    assert_eq!(checkpoint.build(Dtype::F32).unwrap().files, plain.files);

    let partial = Checkpoint::copy("llama-linear");
    std::fs::remove_file(partial.file(index)).unwrap();
    std::fs::remove_file(partial.file(first)).unwrap();
    assert_names(&partial.refusal(), &["1 of 2 shards", first, "missing"]);

    let stale = Checkpoint::copy("llama-linear");
    stale.edit(index, |index| {
        for shard in index["weight_map"].as_object_mut().unwrap().values_mut() {
            *shard = json!("model-00001-of-00003.safetensors");
        }
    });
    assert_names(&stale.refusal(), &[index, "model-00001-of-00003.safetensors", second, "delete it"]);
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        std::fs::write(checkpoint.file(file), pointer).unwrap();
        assert_names(&checkpoint.refusal(), &[file, "Git LFS", "git lfs pull"]);
    }
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let sentence = build_at(checkpoint.file("config.json"), &checkpoint).unwrap_err().to_string();
    assert_names(&sentence, &["config.json", "is a file", "llama3-tiny"]);
    std::fs::rename(checkpoint.file("model.safetensors"), checkpoint.file("pytorch_model.bin")).unwrap();
    let command = format!("`python3 tools/bin_to_safetensors.py {}`", checkpoint.path().display());
    assert_names(&checkpoint.refusal(), &["pytorch_model.bin", &command]);
}

#[test]
fn pipes_and_devices_are_refused_unread() {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        std::fs::remove_file(checkpoint.file(file)).unwrap();
        let made = Command::new("mkfifo").arg(checkpoint.file(file)).status().unwrap();
        assert!(made.success());
        assert_names(&checkpoint.refusal(), &[file, "not a regular file"]);
        std::fs::remove_file(checkpoint.file(file)).unwrap();
        symlink("/dev/zero", checkpoint.file(file)).unwrap();
        assert_names(&checkpoint.refusal(), &[file, "not a regular file"]);
    }
}

#[test]
fn configurations_that_ask_for_the_impossible_get_a_sentence() {
    let labels: serde_json::Map<_, _> =
        (0..200_000).map(|index| (index.to_string(), json!(format!("l{index}")))).collect();
    for (field, value) in [
        ("id2label", json!(labels)),
        ("num_hidden_layers", json!(1u64 << 31)),
        ("vocab_size", json!(1u64 << 31)),
        ("hidden_size", json!((1u64 << 31) - 64)),
        ("intermediate_size", json!(1u64 << 62)),
        ("num_attention_heads", json!(1u64 << 30)),
        ("head_dim", json!(1u64 << 40)),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        assert_names(&checkpoint.set(field, value).refusal(), &["config.json", field]);
    }
    // The tensor decides, not a number that it does not have.
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.set("num_labels", json!(1u64 << 31)).build(Dtype::F32).unwrap();
}
