//! The output directory is there whole, or not at all.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use assay::builder::cpu::build;
use assay::builder::{BuildError, Progress, Silent};
use assay::manifest::{Dtype, Manifest};

use super::support::{Checkpoint, assert_names};

#[test]
fn an_output_that_holds_anything_is_refused_and_left_alone() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let output = checkpoint.beside("engine");
    std::fs::create_dir(&output).unwrap();
    checkpoint.build(Dtype::F32).unwrap();
    let sentence = checkpoint.build(Dtype::F32).unwrap_err().to_string();
    assert_names(&sentence, &[output.to_str().unwrap(), "not empty", "remove"]);
    Manifest::read(&output).unwrap().verify(&output).unwrap();
    assert_eq!(checkpoint.neighbours(), ["engine"]);

    std::fs::remove_dir_all(&output).unwrap();
    std::fs::write(&output, "a file").unwrap();
    assert_names(&checkpoint.build(Dtype::F32).unwrap_err().to_string(), &["not a directory"]);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "a file");
}

#[test]
fn directories_above_the_output_are_made() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let mut options = checkpoint.options(Dtype::F32);
    options.common.output = checkpoint.beside("engines/cpu/judge");
    build(&options, &Silent).unwrap();
    Manifest::read(&options.common.output).unwrap().verify(&options.common.output).unwrap();
}

#[test]
fn off_a_terminal_a_build_reports_in_plain_lines_and_a_failure_in_one_sentence() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let build = || {
        let ended = command(&checkpoint).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, text) = build();
    assert_eq!(code, Some(0), "{text}");
    assert_names(
        &text,
        &[
            "recognised LlamaForSequenceClassification",
            "100%",
            "helpfulness, correctness, coherence, complexity, verbosity",
        ],
    );
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.lines().count() <= 14, "{text}");

    let (code, text) = build();
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    assert_names(&text, &["build-engine: ", "not empty"]);
}

/// Interrupts a build when it has asked this many times.
struct After(AtomicUsize);

impl Progress for After {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn an_interrupted_build_leaves_nothing_wherever_it_stops() {
    let checkpoint = Checkpoint::copy("llama-linear");
    let mut steps = 0;
    loop {
        match build(&checkpoint.options(Dtype::F32), &After(steps.into())) {
            Err(BuildError::Interrupted) => assert_eq!(checkpoint.neighbours(), [""; 0], "after {steps}"),
            result => break result.map(drop).unwrap(),
        }
        steps += 1;
    }
    assert!(steps > 20, "asked only {steps} times");
    assert_eq!(checkpoint.neighbours(), ["engine"]);
}

/// A checkpoint whose embedding is a hole of 4 GB, so that its build takes a while.
fn large() -> Checkpoint {
    const ROWS: usize = 1 << 24;
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let small = std::fs::read(checkpoint.file("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(small[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&small[8..8 + length]).unwrap();
    let added = (ROWS - 640) * 64 * 4;
    // The embedding goes last, where the file can simply be made longer.
    let embedding = header.as_object_mut().unwrap().remove("model.embed_tokens.weight").unwrap();
    let [start, end]: [usize; 2] = serde_json::from_value(embedding["data_offsets"].clone()).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__");
    for (_, tensor) in header.as_object_mut().unwrap() {
        let offsets = &mut tensor["data_offsets"];
        if offsets[0].as_u64().unwrap() as usize >= end {
            let moved = |offset: &serde_json::Value| offset.as_u64().unwrap() as usize - (end - start);
            *offsets = serde_json::json!([moved(&offsets[0]), moved(&offsets[1])]);
        }
    }
    let data = small.len() - 8 - length;
    header["model.embed_tokens.weight"] = serde_json::json!({
        "dtype": "F32", "shape": [ROWS, 64], "data_offsets": [data - (end - start), data + added],
    });
    let header = header.to_string();
    let mut file = File::create(checkpoint.file("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&small[8 + length..8 + length + start]).unwrap();
    file.write_all(&small[8 + length + end..]).unwrap();
    file.set_len((8 + header.len() + data + added) as u64).unwrap();
    checkpoint.set("vocab_size", ROWS.into());
    checkpoint
}

fn command(checkpoint: &Checkpoint) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    command.args(["--target", "cpu", "--dtype", "f32", "--model"]).arg(checkpoint.path());
    command.arg("--output").arg(checkpoint.beside("engine"));
    command
}

/// A running `build-engine`; ended, even where it is stopped, when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn send(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Exit status, if it was not killed, once it has ended.
    fn ended(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

/// Starts `build-engine` and waits until it writes.
fn start_writing(checkpoint: &Checkpoint) -> Running {
    let mut child = command(checkpoint).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let first = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("writing")));
    assert!(first.is_some(), "it ended before it wrote");
    Running(child)
}

#[test]
fn ctrl_c_and_sigterm_end_a_build_and_leave_nothing() {
    let checkpoint = large();
    for signal in ["-INT", "-TERM"] {
        let mut build = start_writing(&checkpoint);
        build.send(signal);
        assert_eq!(build.ended(), Some(130), "{signal}");
        assert_eq!(checkpoint.neighbours(), [""; 0], "{signal}");
    }
}

#[test]
fn what_a_killed_build_left_is_hidden_and_gone_after_the_next_build() {
    let checkpoint = large();
    let mut killed = start_writing(&checkpoint);
    killed.send("-KILL");
    assert_eq!(killed.ended(), None);
    let hidden = || {
        let names = checkpoint.neighbours();
        assert!(names.len() == 1 && names[0].starts_with(".engine.build-engine-"), "{names:?}");
        names
    };
    let left = hidden();
    let mut running = start_writing(&checkpoint);
    running.send("-STOP");
    let held = hidden();
    assert_ne!(held, left);

    // A third takes nothing away from the second, which still runs.
    let small = Checkpoint::copy("llama3-tiny");
    let mut options = small.options(Dtype::F32);
    options.common.output = checkpoint.beside("engine");
    build(&options, &Silent).unwrap();
    let mut now = checkpoint.neighbours();
    now.sort();
    assert_eq!(now, [held[0].as_str(), "engine"]);
    running.send("-TERM");
    running.send("-CONT");
    assert_eq!(running.ended(), Some(130));
    assert_eq!(checkpoint.neighbours(), ["engine"]);
}
