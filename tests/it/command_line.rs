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
fn a_checkpoint_or_a_hub_id_in_place_of_an_engine_is_recognized() {
    let error = refused(1, &["serve", "--engine", "tests/checkpoints/armo-tiny"], &[]);
    assert!(error.contains("is a checkpoint") && error.contains("build-engine --model"), "{error}");
    let error = refused(1, &["serve", "--engine", "owner/name"], &[]);
    assert!(error.contains("hf download owner/name"), "{error}");
    let error = refused(1, &["serve", "--engine", "nowhere"], &[]);
    assert!(error.contains("cannot read nowhere/engine.yaml"), "{error}");
}

#[test]
fn a_missing_engine_is_asked_for() {
    assert!(refused(1, &["serve"], &[]).contains("use --engine DIR"));
    let error = refused(2, &["score", "in.jsonl", "--output", "out.jsonl"], &[]);
    assert!(error.contains("<--engine <DIR>|--url <URL>>"), "{error}");
}

#[test]
fn a_wrong_variable_is_named() {
    let error = refused(2, &["serve", "--engine", "e"], &[("ASSAY_PORT", "http")]);
    assert!(error.contains("ASSAY_PORT=`http`: expected a whole number from 0 to 65535"), "{error}");
    let error = refused(1, &["serve", "--engine", "e"], &[("NIM_SERVER_PORT", "http")]);
    assert!(error.contains("NIM_SERVER_PORT=`http`: expected"), "{error}");
}
