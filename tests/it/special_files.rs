//! Pipes, devices and huge files where a file that others may have made is expected.

use std::ffi::CString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a program may take for a refusal. A slow machine needs less: what is wrong waits forever.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const MEMORY: u64 = 1 << 30;

/// Puts something else in place of a file.
type Replace = fn(&Path);

fn pipe(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

fn device(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

/// A terabyte without blocks.
fn huge(path: &Path) {
    std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
}

/// Standard error of a program that must refuse, with at most a gigabyte of memory.
fn refusal(program: &str, arguments: &[&str]) -> String {
    let mut child =
        Command::new(program).args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak.max(resident_bytes(child.id()));
        if start.elapsed() > TIME_LIMIT || peak > MEMORY {
            child.kill().unwrap();
            panic!("{arguments:?}: {peak} bytes after {:?}", start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(status.code(), Some(1), "{arguments:?}: {error}");
    println!("{:.2} s, {} MB: {error}", start.elapsed().as_secs_f64(), peak >> 20);
    error
}

fn resident_bytes(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

/// A copy of a checkpoint without one of its files.
fn checkpoint_without(file: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/llama3-tiny");
    for entry in std::fs::read_dir(checkpoint).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != file {
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
    }
    directory
}

#[test]
fn what_is_not_a_file_of_a_checkpoint_is_refused_by_name() {
    for file in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"]
    {
        for replace in [pipe, device, huge] as [Replace; 3] {
            let checkpoint = checkpoint_without(file);
            replace(&checkpoint.path().join(file));
            let (model, output) = (checkpoint.path().to_str().unwrap(), checkpoint.path().join("engine"));
            let arguments = ["--model", model, "--target", "cpu", "--output", output.to_str().unwrap()];
            let error = refusal(env!("CARGO_BIN_EXE_build-engine"), &arguments);
            assert!(error.contains(file), "{error}");
        }
    }
}

#[test]
fn a_sentencepiece_model_must_be_a_file() {
    for replace in [pipe, device, huge] as [Replace; 3] {
        let checkpoint = checkpoint_without("tokenizer.json");
        replace(&checkpoint.path().join("tokenizer.model"));
        let (model, output) = (checkpoint.path().to_str().unwrap(), checkpoint.path().join("engine"));
        let arguments = ["--model", model, "--target", "cpu", "--output", output.to_str().unwrap()];
        let error = refusal(env!("CARGO_BIN_EXE_build-engine"), &arguments);
        assert!(error.contains("tokenizer.model"), "{error}");
    }
}

#[test]
fn what_is_not_a_file_of_rows_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("scored.jsonl");
    // A pipe of text is read as it comes.
    for (name, replace, words) in [
        ("rows.jsonl", device as Replace, "it is a device"),
        ("rows.csv", device, "it is a device"),
        ("rows.json.gz", device, "it is a device"),
        ("rows.parquet", device, "it is not a regular file"),
        ("pipe.parquet", pipe, "it is not a regular file"),
    ] {
        let rows = directory.path().join(name);
        replace(&rows);
        let arguments = [
            "score",
            rows.to_str().unwrap(),
            "--url",
            "http://127.0.0.1:1",
            "--output",
            output.to_str().unwrap(),
        ];
        let error = refusal(env!("CARGO_BIN_EXE_assay"), &arguments);
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
}

#[test]
fn manifests_and_options_must_be_files() {
    let directory = tempfile::tempdir().unwrap();
    for (number, replace) in ([pipe, device, huge] as [Replace; 3]).into_iter().enumerate() {
        let engine = directory.path().join(number.to_string());
        std::fs::create_dir(&engine).unwrap();
        replace(&engine.join("engine.yaml"));
        let error = refusal(env!("CARGO_BIN_EXE_assay"), &["serve", engine.to_str().unwrap()]);
        assert!(error.contains("engine.yaml"), "{error}");
        let options = directory.path().join(format!("{number}.yaml"));
        replace(&options);
        let arguments = ["serve", "--config", options.to_str().unwrap(), "--print-config"];
        let error = refusal(env!("CARGO_BIN_EXE_assay"), &arguments);
        assert!(error.contains(&format!("{number}.yaml")), "{error}");
    }
}
