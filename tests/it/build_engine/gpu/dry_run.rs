//! What `--dry-run` prints.

use std::path::Path;

use assay::manifest::{Manifest, Task};

use super::{Site, said};
use crate::build_engine::support::assert_names;

#[test]
fn a_dry_run_prints_sizes_and_the_command_and_writes_nothing() {
    let site = Site::new("llama3-tiny");
    let plan = |model: &Path, more: &[&str]| {
        let output = site.command(model, &site.checkpoint.beside("it's"), "", more).output().unwrap();
        said(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let path = site.checkpoint.path();
    let two = plan(&path, &["--tp", "2", "--dry-run"]);
    let file = "363.88 KiB";
    // 1024 tokens of 3 layers with one key and one value of 64 numbers; 8192 times 840 numbers; 11 rows in f32 for
    // each of 64 sequences.
    let expected = [file, file, "40.00 KiB", "768.00 KiB", "13.12 MiB", "1.72 MiB", "1.41 GiB", "73.09 GiB"];
    assert_eq!(cells(&two, "0-1")[1..], expected);
    assert_names(&two, &["2 x NVIDIA H100 SXM, 74.51 GiB each", "--tp 1", "needs a GPU, and"]);
    let command = ["trtllm-build \\", "--checkpoint_dir CHECKPOINT \\", "it'\\''s' \\", "--workers 2\n"];
    assert_names(&two, &command);
    assert_eq!(site.checkpoint.neighbours(), ["bin"]);
    assert!(!site.log().exists());

    // For a checkpoint that exists already, the command is complete.
    let kept = site.checkpoint.beside("checkpoint");
    let latency = ["--objective", "latency", "--checkpoint-only"];
    said(&site.command(&path, &kept, "", &latency).output().unwrap());
    let rest = plan(&kept, &["--dry-run"]);
    assert_names(
        &rest,
        &["tp1-latency", &format!("--checkpoint_dir {} ", kept.display()), "--max_batch_size 32 "],
    );
    assert!(!rest.contains("CHECKPOINT"), "{rest}");
}

/// The cells of a plan's line for these ranks.
fn cells(plan: &str, ranks: &str) -> Vec<String> {
    let line = plan.lines().find(|line| line.trim_start().starts_with(&format!("{ranks}  "))).expect(plan);
    line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_language_model_is_built_for_what_it_can_do_and_the_plan_says_so() {
    let site = Site::new("lm-head-tiny");
    let plan = |more: &[&str]| {
        let output = site.build("", &[more, &["--dry-run"]].concat());
        said(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    // 640 rows of 32 numbers in bf16.
    let chat = plan(&[]);
    assert_names(&chat, &["a language model for chat", "for chat"]);
    assert_eq!(cells(&chat, "0")[3], "40.00 KiB");
    let two = plan(&["--tp", "2", "--task", "completion"]);
    assert_names(&two, &["for completion"]);
    assert_eq!(cells(&two, "0-1")[3], "20.00 KiB");
    let stages = plan(&["--pp", "2"]);
    assert_eq!((&cells(&stages, "0")[3][..], &cells(&stages, "1")[3][..]), ("0 B", "40.00 KiB"));

    let kept = site.checkpoint.beside("checkpoint");
    said(&site.command(&site.checkpoint.path(), &kept, "", &["--checkpoint-only"]).output().unwrap());
    said(&site.command(&kept, &site.output(), "", &[]).output().unwrap());
    let manifest = Manifest::read(&site.output()).unwrap();
    assert_eq!(manifest.task, Task::Chat);
    assert!(!manifest.prompt.end_tokens.is_empty() && manifest.head.attributes.is_empty());
    let other = ["--task", "completion"];
    let output = site.command(&kept, &site.checkpoint.beside("other"), "", &other).output().unwrap();
    assert!(!output.status.success());
    assert_names(&String::from_utf8(output.stderr).unwrap(), &["checkpoint.yaml", "--task chat"]);
}

#[test]
fn an_output_that_is_not_empty_is_refused_by_a_dry_run_too() {
    let site = Site::new("llama3-tiny");
    std::fs::create_dir(site.output()).unwrap();
    std::fs::write(site.output().join("file"), "").unwrap();
    let output = site.build("", &["--dry-run"]);
    assert!(!output.status.success());
    assert_names(&String::from_utf8(output.stderr).unwrap(), &["--output", "not empty"]);
}
