//! Whether this machine's GPUs are those to build for.

use crate::builder::BuildError;
use crate::hardware::gpus::Gpus;
use crate::hardware::targets::Target;

/// The name of this machine's GPUs of that kind; the kind's usual name where it has none at all.
///
/// # Errors
/// It has GPUs of other kinds only.
pub(super) fn device(machine: &Gpus, target: &Target) -> Result<String, BuildError> {
    match (machine.gpus.iter().find(|gpu| gpu.is(target)), machine.gpus.is_empty()) {
        (Some(gpu), _) => Ok(gpu.name.clone()),
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
