//! The cache of engines that are built from checkpoints when they are first used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A cache of its own, and a checkpoint.
struct Site {
    root: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/llama-linear");
        std::fs::create_dir(site.checkpoint()).unwrap();
        for entry in std::fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), site.checkpoint().join(entry.file_name())).unwrap();
        }
        site
    }

    fn checkpoint(&self) -> PathBuf {
        self.root.path().join("judge")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command
            .args(arguments)
            .env("ASSAY_CACHE", self.root.path().join("cache"))
            .env_remove("ASSAY_CACHE_MAX_BYTES")
            .current_dir(self.root.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What the cache lists.
    fn engines(&self) -> Vec<Value> {
        let listed = self.run(&["cache", "--json"]);
        assert!(listed.status.success(), "{}", errors(&listed));
        serde_json::from_slice::<Vec<Value>>(&listed.stdout).unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output and standard error of a command that succeeds.
fn succeeded(output: &Output) -> (String, String) {
    assert!(output.status.success(), "{}", errors(output));
    (String::from_utf8_lossy(&output.stdout).into_owned(), errors(output))
}

#[test]
fn a_checkpoint_is_built_at_its_first_use_only_and_scores_as_its_engine() {
    let site = Site::new();
    let (first, progress) = succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    assert!(progress.contains("building an engine from judge into"), "{progress}");
    let (again, progress) = succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    assert!(!progress.contains("building"), "{progress}");
    assert_eq!(again, first);

    let engines = site.engines();
    assert_eq!(engines.len(), 1);
    assert_eq!(engines[0]["source"], site.checkpoint().to_str().unwrap());
    let directory = engines[0]["directory"].as_str().unwrap();
    assert_eq!(succeeded(&site.run(&["check", directory])).0, first);
    let refused = errors(&site.run(&["check", directory, "--task", "chat"]));
    assert!(refused.contains("is an engine") && refused.contains("leave them out"), "{refused}");

    let built = Command::new(env!("CARGO_BIN_EXE_build-engine"))
        .args(["--model", "judge", "--target", "cpu", "--dtype", "f32", "--output", "engine"])
        .current_dir(site.root.path())
        .output()
        .unwrap();
    succeeded(&built);
    let manifest = |folder: &Path| std::fs::read_to_string(folder.join("engine.yaml")).unwrap();
    assert_eq!(manifest(Path::new(directory)), manifest(&site.root.path().join("engine")));
}

#[test]
fn a_model_of_the_hub_is_found_by_its_address_as_by_its_name() {
    let site = Site::new();
    let hub = site.root.path().join("hub");
    let snapshots = hub.join("models--acme--judge/snapshots");
    std::fs::create_dir_all(&snapshots).unwrap();
    std::fs::rename(site.checkpoint(), snapshots.join("0123")).unwrap();
    let check = |name: &str| {
        let mut command = site.command(&["check", name, "--dtype", "f32"]);
        succeeded(&command.env("HF_HUB_CACHE", &hub).output().unwrap()).0
    };
    let scores = check("acme/judge");
    for address in ["hf.co/acme/judge", "https://huggingface.co/acme/judge/tree/main"] {
        assert_eq!(check(address), scores);
    }
    let engines = site.engines();
    assert_eq!(engines.len(), 1);
    assert_eq!(engines[0]["model"], "acme/judge");

    let mut command = site.command(&["serve", "--print-ranks", "hf.co/acme/judge"]);
    let (ranks, _) = succeeded(&command.env("HF_HUB_CACHE", &hub).output().unwrap());
    assert_eq!(ranks, "1\n");
    let (ranks, _) = succeeded(&site.run(&["serve", "--print-ranks", "acme/not-here", "--download"]));
    assert_eq!(ranks, "1\n", "the model is downloaded by the command that serves it");
}

#[test]
fn a_download_that_was_interrupted_is_continued_and_a_complete_one_is_not_repeated() {
    let site = Site::new();
    let root = site.root.path();
    let snapshots = root.join("hub/models--acme--judge/snapshots");
    std::fs::create_dir_all(&snapshots).unwrap();
    let shard = snapshots.join("0123/model-00002-of-00002.safetensors");
    std::fs::rename(site.checkpoint(), snapshots.join("0123")).unwrap();
    std::fs::rename(&shard, root.join("rest")).unwrap();
    // In the place of the hub's client; once it has moved the file, it fails.
    let client = root.join("hf");
    std::fs::write(&client, format!("#!/bin/sh\nmv {}/rest {}\n", root.display(), shard.display())).unwrap();
    std::fs::set_permissions(&client, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", root.display(), std::env::var("PATH").unwrap());
    for downloads in [true, false] {
        let mut command = site.command(&["check", "acme/judge", "--download", "--dtype", "f32"]);
        command.env("HF_HUB_CACHE", root.join("hub")).env("PATH", &path);
        let (_, progress) = succeeded(&command.output().unwrap());
        assert_eq!(progress.contains("downloading acme/judge"), downloads, "{progress}");
    }
}

#[test]
fn a_changed_checkpoint_is_built_again_and_the_cache_is_bounded() {
    let site = Site::new();
    succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    let config = site.checkpoint().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n").unwrap();
    let (_, progress) = succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    assert!(progress.contains("building"), "{progress}");
    assert_eq!(site.engines().len(), 2);
    let newest = site.engines()[0]["name"].clone();

    // What a killed build left is removed as well.
    let left = site.root.path().join("cache/engines/.judge-0.build-engine-x");
    std::fs::create_dir(&left).unwrap();
    let mut small = site.command(&["check", "judge", "--dtype", "f32"]);
    succeeded(&small.env("ASSAY_CACHE_MAX_BYTES", "1").output().unwrap());
    let left_engines = site.engines();
    assert_eq!(left_engines.len(), 1, "the engine in use stays, whatever its size");
    assert_eq!(left_engines[0]["name"], newest);
    assert!(!left.exists());

    let mut wrong = site.command(&["check", "judge", "--dtype", "f32"]);
    let wrong = errors(&wrong.env("ASSAY_CACHE_MAX_BYTES", "1 GB").output().unwrap());
    assert!(wrong.contains("ASSAY_CACHE_MAX_BYTES=`1 GB`: expected a number of bytes"), "{wrong}");

    let (table, _) = succeeded(&site.run(&["cache"]));
    assert!(table.contains("1 engine,") && table.contains("used just now, from "), "{table}");
    let name = newest.as_str().unwrap();
    succeeded(&site.run(&["cache", "--remove", name]));
    assert!(site.engines().is_empty());
    let missing = errors(&site.run(&["cache", "--remove", name]));
    assert!(missing.contains("has no engine"), "{missing}");
}

#[test]
fn processes_that_want_one_engine_at_once_build_it_once() {
    let site = Site::new();
    let started: Vec<Child> =
        (0..4).map(|_| site.command(&["check", "judge", "--dtype", "f32"]).spawn().unwrap()).collect();
    let done: Vec<(String, String)> =
        started.into_iter().map(|child| succeeded(&child.wait_with_output().unwrap())).collect();
    let builds = done.iter().filter(|(_, progress)| progress.contains("building an engine")).count();
    assert_eq!(builds, 1);
    assert!(done.iter().all(|(scores, _)| *scores == done[0].0));
    assert_eq!(site.engines().len(), 1);
}

#[test]
fn a_damaged_engine_of_the_cache_is_built_again() {
    let site = Site::new();
    succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    let directory = PathBuf::from(site.engines()[0]["directory"].as_str().unwrap());
    std::fs::write(directory.join("engine.yaml"), "format: 0\n").unwrap();
    let (_, progress) = succeeded(&site.run(&["check", "judge", "--dtype", "f32"]));
    assert!(progress.contains("building"), "{progress}");
}

#[test]
fn a_checkpoint_that_cannot_be_built_says_why_and_leaves_nothing() {
    let site = Site::new();
    std::fs::remove_file(site.checkpoint().join("tokenizer.json")).unwrap();
    let refused = site.run(&["check", "judge"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("tokenizer.json"), "{}", errors(&refused));
    assert!(site.engines().is_empty());
}

#[test]
fn a_head_file_that_does_not_exist_is_named_rather_than_the_cache() {
    let site = Site::new();
    let refused = errors(&site.run(&["check", "judge", "--head", "no/such.yaml"]));
    assert!(refused.contains("cannot read no/such.yaml: No such file"), "{refused}");
    assert!(!refused.contains("ASSAY_CACHE"), "{refused}");
}

#[test]
fn an_engine_is_not_used_as_another_type_than_the_one_that_is_asked_for() {
    let site = Site::new();
    succeeded(&site.run(&["check", "judge", "--dtype", "float32"]));
    let engine = site.engines()[0]["directory"].as_str().unwrap().to_owned();
    for (dtype, is_right) in [("f32", true), ("int8", false), ("bfloat16", false)] {
        let done = site.run(&["check", &engine, "--dtype", dtype]);
        assert_eq!(done.status.success(), is_right, "{dtype}: {}", errors(&done));
        assert!(
            is_right || errors(&done).contains("is an engine whose weights are f32"),
            "{}",
            errors(&done)
        );
    }
}

#[test]
fn a_build_warns_of_no_field_that_nobody_sent() {
    let site = Site::new();
    let (_, log) = succeeded(&site.run(&["check", "judge"]));
    assert!(log.contains("recognised") && !log.contains("never reads"), "{log}");
}

#[test]
fn an_engine_in_place_of_a_checkpoint_gets_the_command_that_serves_it() {
    let site = Site::new();
    succeeded(&site.run(&["check", "judge"]));
    let engine = site.engines()[0]["directory"].as_str().unwrap().to_owned();
    let mut build = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    let output = site.root.path().join("output");
    let done = build.args(["--target", "cpu", "--model", &engine, "--output"]).arg(output).output().unwrap();
    let sentence = format!("{engine} is an engine already, which `assay serve {engine}` serves");
    assert!(errors(&done).contains(&sentence), "{}", errors(&done));
}
