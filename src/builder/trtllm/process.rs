//! Finds and runs `trtllm-build`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::builder::error::TRTLLM_BUILD;
use crate::builder::{BuildError, ProcessError, Progress};
use crate::manifest::TENSORRT_LLM;

/// Lines of its output that the error for a failure repeats.
const LAST_LINES: usize = 12;
/// Characters of each of these lines.
const LONGEST_LINE: usize = 400;
/// Time between two checks for an interruption, or for the end of a process.
const POLL: Duration = Duration::from_millis(200);
/// Checks for its end between SIGTERM and SIGKILL.
const GRACE_POLLS: usize = 25;

/// Finds the program on `PATH`.
///
/// # Errors
/// It is not there, or belongs to another version of TensorRT-LLM than the server drives.
pub(super) fn find() -> Result<PathBuf, ProcessError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(TRTLLM_BUILD)).find(|file| file.is_file());
    let program = found.ok_or(ProcessError::Missing)?;
    // If the metadata cannot be read, the engine will say it. Importing the package would take long.
    let script = "import importlib.metadata; print(importlib.metadata.version('tensorrt_llm'))";
    if let Some(version) = python(&program, script) {
        check_version(version.split('+').next().unwrap_or_default())?;
    }
    Ok(program)
}

/// Refuses a version of TensorRT-LLM whose engines the server does not drive.
pub(super) fn check_version(found: &str) -> Result<(), ProcessError> {
    if found == TENSORRT_LLM { Ok(()) } else { Err(ProcessError::OtherVersion(found.to_owned())) }
}

/// What `script` prints in the Python that runs `program` if that is a Python script, else in `python3`. `None` if it
/// fails.
pub(super) fn python(program: &Path, script: &str) -> Option<String> {
    let python = interpreter(program).unwrap_or_else(|| PathBuf::from("python3"));
    let output = Command::new(python).args(["-c", script]).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The Python in a script's first line.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut line = String::new();
    BufReader::new(File::open(program).ok()?).take(LONGEST_LINE as u64).read_line(&mut line).ok()?;
    let is_python = |word: &&str| word.rsplit('/').next().is_some_and(|name| name.starts_with("python"));
    line.strip_prefix("#!")?.split_whitespace().find(is_python).map(PathBuf::from)
}

/// Runs it in `folder`, where it leaves temporary files, and passes its output on.
///
/// # Errors
/// It cannot be started, it fails (the error repeats its last lines), or the build was interrupted; it and all the
/// processes that it started are ended then.
pub(super) fn run(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let unstartable = |source| ProcessError::Unstartable { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own process group, so that its workers end with it.
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
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                progress.note(&line);
                last.push_back(line.chars().take(LONGEST_LINE).collect());
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Both of its outputs are closed: it has ended, or is about to.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(unstartable)?;
    if status.success() {
        return Ok(());
    }
    Err(ProcessError::Failed { status, last_lines: last.into() }.into())
}

/// Sends lines until there are no more, or the receiver is gone.
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

/// Ends its process group: first with SIGTERM, so that it can remove temporary files, then with SIGKILL.
fn end(child: &mut Child) {
    let group = child.id();
    let signal = |name: &str| {
        // Without a shell, the program itself is still ended below.
        let command = format!("kill -s {name} -- -{group}");
        let _ = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
    };
    signal("TERM");
    for _ in 0..GRACE_POLLS {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(POLL);
    }
    signal("KILL");
    let _ = child.kill();
    let _ = child.wait();
}
