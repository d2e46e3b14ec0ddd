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
        (&["serve", "nowhere"], "nowhere does not exist"),
        (&["serve", "tests/checkpoints"], "`assay serve tests/checkpoints/"),
        (&["check", "tests/golden"], "neither an engine"),
        (&["bench", "--engine", "owner/name"], "`hf download owner/name`"),
        (&["score", pairs, "--output", "-", "--engine", "owner/name"], "`hf download owner/name`"),
        (&["eval", pairs, "--engine", "tests/checkpoints"], "`assay eval --engine tests/checkpoints/"),
    ] {
        let error = refused(1, arguments, &[]);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn a_missing_engine_is_named() {
    assert!(refused(1, &["serve"], &[]).contains("assay serve MODEL"));
    let error = refused(2, &["score", "in.jsonl", "--output", "out.jsonl"], &[]);
    assert!(error.contains("<--engine <MODEL>|--url <URL>>"), "{error}");
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
