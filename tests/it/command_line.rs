//! What the programs print for mistakes on their command lines.

use std::path::Path;
use std::process::Command;

/// Standard error of `assay` with `arguments`, which must fail with `status`.
fn refused(status: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    let done = command
        .args(arguments)
        .env_remove("ASSAY_ENGINE")
        .envs(variables.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let error = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(status), "{error}");
    error
}

#[test]
fn a_wrong_model_gets_the_command_that_was_meant() {
    let rows = tempfile::tempdir().unwrap();
    let pairs = rows.path().join("pairs.jsonl");
    std::fs::write(&pairs, "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n").unwrap();
    let pairs = pairs.to_str().unwrap();
    for (arguments, part) in [
        (
            &["serve", "tests/checkpoints/armo-tiny/config.json"][..],
            "`assay serve tests/checkpoints/armo-tiny`",
        ),
        (&["serve", "--engine", "owner/name"], "`hf download owner/name`"),
        (&["serve", "https://huggingface.co/owner/name"], "`assay serve owner/name --download`"),
        (&["serve", "hf.co/owner/name/tree/v2"], "`hf download owner/name --revision v2 --local-dir DIR`"),
        (
            &["serve", "--print-ranks", "tests/checkpoints/armo-tiny/config.json"],
            "`assay serve tests/checkpoints/armo-tiny`",
        ),
        (&["serve", "--print-ranks", "owner/name"], "`assay serve owner/name --download`"),
        (&["check", "owner/name"], "`assay check owner/name --download`"),
        (&["bench", "--engine", "owner/name"], "`assay bench --engine owner/name --download`"),
        (&["profiles", "--engines", "tests/golden"], "there is no engine in tests/golden"),
        (
            &["profiles", "--engines", "tests/nowhere"],
            "tests/nowhere is not a folder on this machine; name one with engines",
        ),
        (
            &["profiles", "--engines", "tests/checkpoints/armo-tiny"],
            "`assay serve tests/checkpoints/armo-tiny`",
        ),
        (&["profiles", "--engines", "nowhere"], "nowhere is not a folder on this machine"),
        (&["serve", "nowhere"], "nowhere does not exist"),
        (
            &["serve", "nowhere", "--download"],
            "OWNER/NAME of a model of the Hugging Face hub, which --download fetches",
        ),
        (&["serve", "tests/checkpoints"], "`assay serve tests/checkpoints/"),
        (&["check", "tests/golden"], "neither an engine"),
        (&["score", pairs, "--output", "-", "--engine", "owner/name"], "`hf download owner/name`"),
        (&["eval", pairs, "--engine", "tests/checkpoints"], "`assay eval --engine tests/checkpoints/"),
    ] {
        let error = refused(1, arguments, &[]);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn the_manifest_of_an_engine_gets_the_command_with_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let manifest = root.path().join("engine.yaml");
    std::fs::write(&manifest, "").unwrap();
    let (manifest, directory) = (manifest.to_str().unwrap(), root.path().display());
    for arguments in [&["serve", manifest][..], &["serve", "--print-ranks", manifest]] {
        let error = refused(1, arguments, &[]);
        assert!(error.contains(&format!("name its directory: `assay serve {directory}`")), "{error}");
    }
    let error = refused(1, &["profiles", "--engines", manifest], &[]);
    assert!(error.contains(&format!("`assay profiles --engines {directory}`")), "{error}");
}

#[test]
fn a_model_in_the_wrong_place_of_a_command_line_gets_the_right_place() {
    for (arguments, tip) in [
        (&["serve", "--model", "owner/name"][..], "without an option: assay serve owner/name"),
        (&["serve", "--port", "1", "--model-id=owner/name"], "assay serve owner/name"),
        (&["serve", "--model"], "assay serve MODEL"),
        (&["check", "--model-path", "owner/name"], "assay check owner/name"),
        (&["owner/name"], "assay serve owner/name"),
        (&["--model", "owner/name"], "assay serve owner/name"),
        (&["tests"], "assay serve tests"),
        (&["bench", "owner/name"], "--engine owner/name"),
        (&["bench", "--model", "owner/name"], "--engine owner/name"),
        (&["profiles", "tests"], "--engines tests"),
        (&["score", "in.jsonl", "--output", "-", "--model", "owner/name"], "--engine owner/name"),
        (&["eval", "in.jsonl", "--model-path", "owner/name"], "--engine owner/name"),
        (&["build-engine", "--model", "owner/name"], "build-engine --help"),
        (&["run", "owner/name"], "assay serve owner/name"),
        (&["start", "--port", "1"], "assay serve MODEL"),
        (&["pull", "owner/name"], "assay serve owner/name --download"),
        (&["serve", "owner/name", "owner/other"], "start another one with another --port"),
    ] {
        let error = refused(2, arguments, &[]);
        let tip = format!("{tip}\n");
        assert!(error.contains("tip: ") && error.contains(&tip), "{arguments:?}: {error}");
    }
    for arguments in [&["--target", "cpu", "owner/name"][..], &["owner/name"]] {
        let mut build = Command::new(env!("CARGO_BIN_EXE_build-engine"));
        let done = build.args(arguments).output().unwrap();
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(error.contains("tip: name the model with --model owner/name\n"), "{error}");
        assert!(!error.contains("similar"), "{error}");
    }
    for (word, tip) in
        [("list", "assay cache lists"), ("prune", "cache --clear"), ("rm", "cache --remove NAME")]
    {
        let error = refused(2, &["cache", word], &[]);
        assert!(error.contains(tip), "{error}");
    }
    let error = refused(2, &["version"], &[]);
    assert!(error.contains("assay --version") && !error.contains("verify"), "{error}");
}

#[test]
fn an_option_of_another_server_gets_the_one_for_the_same_thing() {
    for (given, tip) in [
        ("--max-model-len", "--max-seq-len"),
        ("--tensor-parallel-size", "--tp of `build-engine`"),
        ("--api-key", "--api-keys-file FILE"),
    ] {
        let error = refused(2, &["serve", "owner/name", given, "1"], &[]);
        assert!(error.contains(&format!("tip: the option for this is {tip}\n")), "{error}");
    }
    for (given, tip) in [
        ("--trust-remote-code", "leave it out: no code of a checkpoint is run"),
        ("--runner", "leave it out: what a model computes is recognised from its files"),
        ("--gpu-memory-utilization", "the option for this is --kv-cache-fraction"),
    ] {
        let error = refused(2, &["serve", "owner/name", given], &[]);
        assert!(error.contains(&format!("tip: {tip}\n")), "{error}");
        assert!(!error.contains("similar"), "{error}");
    }
    // Those that are similar to an option of ours are still clap's to correct.
    let error = refused(2, &["serve", "owner/name", "--prot", "1"], &[]);
    assert!(error.contains("'--port'"), "{error}");
}

#[test]
fn a_missing_engine_is_named() {
    assert!(refused(1, &["serve"], &[]).contains("assay serve MODEL"));
    let error = refused(2, &["score", "in.jsonl", "--output", "out.jsonl"], &[]);
    assert!(error.contains("<--engine <MODEL>|--url <URL>>"), "{error}");
}

#[test]
fn a_folder_of_the_output_that_does_not_exist_is_named_before_anything_is_read() {
    let arguments = ["score", "no/in.jsonl", "--engine", "e", "--output", "no/such/out.jsonl"];
    assert!(refused(1, &arguments, &[]).contains("--output: there is no folder no/such; make it"));
}

#[test]
fn buckets_of_scores_increase() {
    let error = refused(1, &["serve", "e", "--score-buckets=-1,2,2"], &[]);
    assert!(error.contains("score_buckets must increase, and 2 comes before 2"), "{error}");
    let error = refused(2, &["serve", "e", "--score-buckets", "a"], &[]);
    assert!(error.contains("expected a number"), "{error}");
}

#[test]
fn a_wrong_variable_is_named() {
    let error = refused(2, &["serve", "--engine", "e"], &[("ASSAY_PORT", "http")]);
    assert!(error.contains("ASSAY_PORT=`http`: expected a whole number from 0 to 65535"), "{error}");
    let error = refused(1, &["serve", "--engine", "e"], &[("NIM_SERVER_PORT", "http")]);
    assert!(error.contains("NIM_SERVER_PORT=`http`: expected"), "{error}");
}
