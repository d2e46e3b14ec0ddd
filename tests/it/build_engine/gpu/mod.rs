//! Engines for NVIDIA GPUs, with a script in the place of `trtllm-build`.

mod built;
mod dry_run;
mod heads;
mod modelopt;
mod refused;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assay::builder::Silent;
use assay::builder::trtllm::{TrtllmBuildOptions, build};
use assay::hardware::Gpus;
use assay::manifest::{GpuTarget, Manifest, Target};

use super::support::Checkpoint;

/// A checkpoint beside a `bin` with the script.
struct Site {
    checkpoint: Checkpoint,
    bin: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let checkpoint = Checkpoint::wide(name);
        let bin = checkpoint.beside("bin");
        std::fs::create_dir(&bin).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/build_engine/trtllm-build.sh");
        std::os::unix::fs::symlink(script, bin.join("trtllm-build")).unwrap();
        Self { checkpoint, bin }
    }

    fn output(&self) -> PathBuf {
        self.checkpoint.beside("engine")
    }

    fn log(&self) -> PathBuf {
        self.bin.join("log")
    }

    fn command(&self, model: &Path, output: &Path, mode: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("FAKE_LOG", self.log()).env("FAKE_MODE", mode);
        command.arg("--model").arg(model).arg("--output").arg(output).args(["--target", "h100"]).args(more);
        command
    }

    fn build(&self, mode: &str, more: &[&str]) -> Output {
        self.command(&self.checkpoint.path(), &self.output(), mode, more).output().unwrap()
    }

    /// Builds it, which must fail and leave nothing; returns the error's text.
    fn refusal(&self, mode: &str, more: &[&str]) -> String {
        let output = self.build(mode, more);
        assert!(!output.status.success());
        assert_eq!(self.checkpoint.neighbours(), ["bin"], "left behind");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn said(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

fn gpus(manifest: &Manifest) -> &GpuTarget {
    match &manifest.target {
        Target::TensorrtLlm(gpus) => gpus,
        Target::Cpu { .. } => panic!("built for a CPU"),
    }
}

/// The error for a checkpoint with changed options; no file may be left behind.
fn refused(name: &str, target: &str, change: impl FnOnce(&mut TrtllmBuildOptions)) -> String {
    let checkpoint = Checkpoint::wide(name);
    refused_copy(&checkpoint, target, &Gpus::default(), change)
}

fn refused_copy(
    checkpoint: &Checkpoint,
    target: &str,
    machine: &Gpus,
    change: impl FnOnce(&mut TrtllmBuildOptions),
) -> String {
    let mut options = TrtllmBuildOptions::new(checkpoint.path(), target, checkpoint.beside("engine"));
    options.gpu.checkpoint_only = true;
    change(&mut options);
    let sentence = build(&options, machine, &Silent).expect_err("it was built").to_string();
    assert_eq!(checkpoint.neighbours(), [""; 0], "left behind after: {sentence}");
    sentence
}
