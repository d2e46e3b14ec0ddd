//! The `trtllm-build` command, and running it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::families::is_llama;
use super::mapping::Mapping;
use crate::builder::{BuildError, Progress};
use crate::manifest::{BuildLimits, Family, Objective, Quantization, TENSORRT_LLM};

/// The program.
pub(super) const PROGRAM: &str = "trtllm-build";
/// Lines of its output that a failure is told with.
const LAST_WORDS: usize = 12;
/// Longest of them, in characters.
const LONGEST_LINE: usize = 400;
/// How often an interruption is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How many times it is looked whether it has ended when it was told to.
const GRACE: usize = 25;

/// What decides the flags.
pub(super) struct Recipe<'r> {
    pub(super) family: Family,
    pub(super) limits: BuildLimits,
    pub(super) mapping: Mapping,
    pub(super) quantization: &'r Quantization,
    pub(super) objective: Objective,
    /// Whether the model is the one that has a small head.
    pub(super) small_head: bool,
}

impl Recipe<'_> {
    /// The arguments. Why each is so: docs/engines.md.
    pub(super) fn arguments(&self, checkpoint: &Path, output: &Path) -> Vec<String> {
        let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } = self.limits;
        let mut arguments = Vec::new();
        let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        flag("checkpoint_dir", checkpoint.display().to_string());
        flag("output_dir", output.display().to_string());
        flag("max_batch_size", max_batch_size.to_string());
        flag("max_num_tokens", max_num_tokens.to_string());
        flag("max_input_len", max_seq_len.to_string());
        // To score, one token is generated, for it carries the logits; every engine does so as it loads.
        flag("max_seq_len", (max_seq_len + 1).to_string());
        flag("max_beam_width", "1".to_owned());
        for (name, value) in [
            ("kv_cache_type", "paged"),
            ("remove_input_padding", "enable"),
            ("use_paged_context_fmha", "enable"),
            ("tokens_per_block", "32"),
            ("logits_dtype", "float32"),
        ] {
            flag(name, value.to_owned());
        }
        match self.objective {
            Objective::Throughput => {
                flag("gemm_plugin", "auto".to_owned());
                flag("opt_num_tokens", max_num_tokens.to_string());
            }
            Objective::Latency => {
                flag("gemm_plugin", "disable".to_owned());
                flag("multiple_profiles", "enable".to_owned());
            }
        }
        let fuses = self.mapping.tensor_parallel > 1
            && is_llama(self.family)
            && !self.small_head
            && *self.quantization != Quantization::Fp8;
        if fuses {
            flag("reduce_fusion", "enable".to_owned());
        }
        flag("workers", self.mapping.ranks().to_string());
        arguments
    }
}

/// A command as a shell takes it, an option and its value on each line.
pub(super) fn shell_line(program: &str, arguments: &[String]) -> String {
    let quoted = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    let options = arguments.chunks(2).map(|option| option.iter().map(quoted).collect::<Vec<_>>().join(" "));
    std::iter::once(program.to_owned()).chain(options).collect::<Vec<_>>().join(" \\\n    ")
}

/// The program on `PATH`.
///
/// # Errors
/// It is not there, or of another TensorRT-LLM than the server drives.
pub(super) fn find() -> Result<PathBuf, BuildError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file());
    let program = found.ok_or_else(|| {
        BuildError::Option(format!(
            "there is no {PROGRAM} on PATH: it comes with TensorRT-LLM {TENSORRT_LLM}, so run build-engine in the GPU \
             image (docker/), or write the checkpoint alone with --checkpoint-only and build it there later"
        ))
    })?;
    // Where the package does not tell, the engine will. Importing it would take long.
    let script = "import importlib.metadata; print(importlib.metadata.version('tensorrt_llm'))";
    if let Some(version) = python(&program, script) {
        check_version(version.split('+').next().unwrap_or_default())?;
    }
    Ok(program)
}

/// Refuses a version of TensorRT-LLM whose engines the server does not drive.
pub(super) fn check_version(found: &str) -> Result<(), BuildError> {
    if found == TENSORRT_LLM {
        return Ok(());
    }
    Err(BuildError::Option(format!(
        "{PROGRAM} here is of TensorRT-LLM {found}, and the server drives {TENSORRT_LLM}; run build-engine in the \
         server's own image (docker/)"
    )))
}

/// What `script` prints in the Python that runs `program`, if it is a script for one, or else in `python3`;
/// nothing if it fails.
pub(super) fn python(program: &Path, script: &str) -> Option<String> {
    let python = interpreter(program).unwrap_or_else(|| PathBuf::from("python3"));
    let output = Command::new(python).args(["-c", script]).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The Python that a script's first line names.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut line = String::new();
    BufReader::new(File::open(program).ok()?).take(LONGEST_LINE as u64).read_line(&mut line).ok()?;
    let is_python = |word: &&str| word.rsplit('/').next().is_some_and(|name| name.starts_with("python"));
    line.strip_prefix("#!")?.split_whitespace().find(is_python).map(PathBuf::from)
}

/// Runs it in `folder`, where it leaves what is of no use later, and passes its output through.
///
/// # Errors
/// It cannot be started or fails, which is told with its last words, or the build was interrupted: it and
/// all that it started are ended then.
pub(super) fn run(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let unstartable = |error| BuildError::Option(format!("{} cannot be started: {error}", program.display()));
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that its workers end with it.
        .process_group(0)
        .spawn()
        .map_err(unstartable)?;
    let (sender, lines) = bounded(64);
    if let Some(output) = child.stdout.take() {
        read_lines(output, sender.clone());
    }
    if let Some(output) = child.stderr.take() {
        read_lines(output, sender);
    }
    let mut last: VecDeque<String> = VecDeque::new();
    loop {
        if progress.interrupted() {
            end(&mut child);
            return Err(BuildError::Interrupted);
        }
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                progress.note(&line);
                last.push_back(line.chars().take(LONGEST_LINE).collect());
                if last.len() > LAST_WORDS {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Both ends of its output are closed: it has ended, or is about to.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(unstartable)?;
    if status.success() {
        return Ok(());
    }
    let last = last.make_contiguous().join("\n    ");
    Err(BuildError::Option(format!("{PROGRAM} failed ({status}); its last words:\n    {last}")))
}

/// Hands the lines on until there are no more, or nobody listens.
fn read_lines(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
}

/// Ends its group: first politely, for it has temporary files, then at once.
fn end(child: &mut Child) {
    let group = child.id();
    let signal = |name: &str| {
        // Where there is no shell, the program itself is still ended below.
        let command = format!("kill -s {name} -- -{group}");
        let _ = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
    };
    signal("TERM");
    for _ in 0..GRACE {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    signal("KILL");
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        objective: Objective,
        family: Family,
        quantization: Quantization,
        tensor_parallel: usize,
    ) -> String {
        let limits = BuildLimits { max_seq_len: 4096, max_batch_size: 64, max_num_tokens: 8192 };
        let mapping = Mapping { tensor_parallel, pipeline_parallel: 1 };
        let recipe =
            Recipe { family, limits, mapping, quantization: &quantization, objective, small_head: false };
        recipe.arguments(Path::new("in"), Path::new("out")).join(" ")
    }

    /// Every flag, for each changes what an engine can do or how fast it is.
    #[test]
    fn flags_are_those_of_the_objective() {
        let common = "--checkpoint_dir in --output_dir out --max_batch_size 64 --max_num_tokens 8192 \
                      --max_input_len 4096 --max_seq_len 4097 --max_beam_width 1 --kv_cache_type paged \
                      --remove_input_padding enable --use_paged_context_fmha enable --tokens_per_block 32 \
                      --logits_dtype float32";
        assert_eq!(
            line(Objective::Throughput, Family::Qwen2, Quantization::None, 1),
            format!("{common} --gemm_plugin auto --opt_num_tokens 8192 --workers 1")
        );
        // trtllm-build refuses an optimum beside several profiles.
        assert_eq!(
            line(Objective::Latency, Family::Qwen2, Quantization::None, 1),
            format!("{common} --gemm_plugin disable --multiple_profiles enable --workers 1")
        );
    }

    #[test]
    fn reductions_are_fused_for_llama_on_several_gpus_unless_norms_quantize() {
        let fuses = |family, quantization, ranks| {
            line(Objective::Throughput, family, quantization, ranks).contains("--reduce_fusion enable")
        };
        assert!(fuses(Family::Llama, Quantization::None, 2));
        assert!(fuses(Family::Llama, Quantization::Int8WeightOnly, 2));
        assert!(!fuses(Family::Llama, Quantization::None, 1));
        assert!(!fuses(Family::Llama, Quantization::Fp8, 2));
        assert!(!fuses(Family::Qwen2, Quantization::None, 2));
    }

    #[test]
    fn a_command_is_quoted_where_a_shell_would_read_it_otherwise() {
        let words = ["--output_dir", "it's here", "--workers", "2"].map(str::to_owned);
        assert_eq!(
            shell_line("build", &words),
            "build \\\n    --output_dir 'it'\\''s here' \\\n    --workers 2"
        );
    }
}
