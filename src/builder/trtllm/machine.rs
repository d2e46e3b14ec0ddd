//! Whether this machine has the GPUs to build for.

use crate::builder::BuildError;
use crate::hardware::gpus::Gpus;
use crate::hardware::targets::HardwareTarget;

/// The name of this machine's GPUs of the target's kind; the kind's usual name if the machine has no GPU.
///
/// # Errors
/// It has only GPUs of other kinds.
pub(super) fn device(machine: &Gpus, target: &HardwareTarget) -> Result<String, BuildError> {
    match (machine.gpus.iter().find(|gpu| gpu.is(target)), machine.gpus.is_empty()) {
        (Some(gpu), _) => Ok(gpu.name.clone()),
        (None, true) => Ok(target.devices.first().cloned().unwrap_or_default()),
        (None, false) => Err(BuildError::Option(format!(
            "this machine has {}, which is not {} (--target {}); an engine runs only on the kind of GPU that built it: \
             build it there, or write the checkpoint here with --checkpoint-only",
            machine.describe(),
            target.title,
            target.name
        ))),
    }
}
