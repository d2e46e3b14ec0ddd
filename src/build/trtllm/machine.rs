//! The GPUs of the machine that builds, as its driver tells them.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::build::BuildError;
use crate::engine::target::Target;

/// The machine that builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Names of its GPUs, as NVML prints them.
    pub gpus: Vec<String>,
    /// Version of their driver; empty where there is none.
    pub driver: String,
}

impl Machine {
    /// Asks NVML. A machine without a driver has no GPUs.
    pub fn read() -> Self {
        let read = || -> Result<Self, NvmlError> {
            let nvml = Nvml::init()?;
            let names = (0..nvml.device_count()?).map(|index| nvml.device_by_index(index)?.name());
            Ok(Self { gpus: names.collect::<Result<_, _>>()?, driver: nvml.sys_driver_version()? })
        };
        read().unwrap_or_default()
    }

    /// The name of its GPUs of this kind; the kind's usual name where it has none at all.
    ///
    /// # Errors
    /// It has GPUs of other kinds only.
    pub(super) fn device(&self, target: &Target) -> Result<String, BuildError> {
        let is_target = |gpu: &&String| target.devices.iter().any(|device| device.eq_ignore_ascii_case(gpu));
        match (self.gpus.iter().find(is_target), &self.gpus[..]) {
            (Some(gpu), _) => Ok(gpu.clone()),
            (None, []) => Ok(target.devices.first().cloned().unwrap_or_default()),
            (None, gpus) => Err(BuildError::Option(format!(
                "this machine has {}, which is not {} (--target {}); an engine runs only on the kind of GPU that built \
                 it: build on that, or write the checkpoint here with --checkpoint-only",
                gpus.join(", "),
                target.title,
                target.name
            ))),
        }
    }
}
