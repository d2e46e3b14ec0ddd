//! Downloading a model of the hub, by the hub's own client: it knows where tokens and mirrors are configured, resumes,
//! verifies, and writes into the cache in which models are looked for.

use std::process::{Command, Stdio};

use super::ModelError;

/// Formats that duplicate the weights and are not used for building engines.
const UNUSED: [&str; 8] = [
    "*.gguf",
    "*.onnx",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "pytorch_model*.bin",
    "consolidated*.pth",
    "original/*",
];

/// Downloads the model `name` into the hub's cache. Its progress is on standard error.
///
/// # Errors
/// The client is not installed, or it fails.
pub(super) fn download(name: &str) -> Result<(), ModelError> {
    let mut command = Command::new("hf");
    command.args(["download", name]);
    for pattern in UNUSED {
        command.args(["--exclude", pattern]);
    }
    // The client prints the path of the download, which must not end up in the output of a command such as `score`.
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let name = name.to_owned();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(ModelError::Download { name, status: status.to_string() }),
        Err(source) => Err(ModelError::NoClient { name, source }),
    }
}
