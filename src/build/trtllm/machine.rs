//! Whether this machine's GPUs are those to build for.

use crate::build::BuildError;
use crate::engine::gpus::Gpus;
use crate::engine::target::Target;

/// The name of this machine's GPUs of that kind; the kind's usual name where it has none at all.
///
/// # Errors
/// It has GPUs of other kinds only.
pub(super) fn device(machine: &Gpus, target: &Target) -> Result<String, BuildError> {
    let is_target = |name: &&str| target.devices.iter().any(|device| device == name);
    let names = || machine.gpus.iter().map(|gpu| gpu.name.as_str());
    match (names().find(is_target), machine.gpus.is_empty()) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, true) => Ok(target.devices.first().cloned().unwrap_or_default()),
        (None, false) => Err(BuildError::Option(format!(
            "this machine has {}, which is not {} (--target {}); an engine runs only on the kind of GPU that built it: \
             build on that, or write the checkpoint here with --checkpoint-only",
            machine.describe(),
            target.title,
            target.name
        ))),
    }
}
