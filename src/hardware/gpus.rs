//! The NVIDIA GPUs of this machine, as its driver reports them.
//!
//! The driver's library (NVML) is loaded at run time, so that the same binary starts on machines without it.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::targets::{HardwareTarget, TargetError};

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The name that NVML prints, for example `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// `GPU-` and hexadecimal digits; unique.
    pub uuid: String,
    /// PCI device id, for example 0x2330 for an H100 SXM.
    pub device_id: u16,
    /// CUDA compute capability, `major.minor`.
    pub compute_capability: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether it is partitioned (MIG), so that a process gets only a part.
    pub divided: bool,
}

impl Gpu {
    /// The target in `engines/targets` for this GPU, if there is one.
    ///
    /// # Errors
    /// A target file of this build is malformed.
    pub fn target(&self) -> Result<Option<HardwareTarget>, TargetError> {
        Ok(HardwareTarget::all()?.into_iter().find(|target| self.is(target)))
    }

    /// Whether it is a whole GPU of this kind, by its name or, if its driver has another name for it, by its
    /// PCI id.
    pub fn is(&self, target: &HardwareTarget) -> bool {
        !self.divided && (target.devices.contains(&self.name) || target.device_ids.contains(&self.device_id))
    }
}

/// The GPUs that this process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// In NVML's order, which is that of the PCI bus.
    pub gpus: Vec<Gpu>,
    /// Version of the driver, for example `580.65.06`, if there is one.
    pub driver: Option<String>,
    /// Why there are no GPUs, if there are none.
    pub absent: Option<String>,
}

impl Gpus {
    /// Asks the driver. GPUs hidden by `CUDA_VISIBLE_DEVICES` are left out.
    pub fn detect() -> Self {
        let found = match Nvml::init() {
            Ok(nvml) => Self::ask(&nvml)
                .unwrap_or_else(|error| Self::none(format!("the NVIDIA driver does not answer: {error}"))),
            Err(NvmlError::LibloadingError(_)) => {
                let missing = "libnvidia-ml.so.1 is missing; a container needs `--gpus all`";
                Self::none(format!("this machine has no NVIDIA driver ({missing})"))
            }
            Err(error) => Self::none(format!("the NVIDIA driver cannot be used: {error}")),
        };
        match std::env::var("CUDA_VISIBLE_DEVICES") {
            Ok(visible) => found.visible(&visible),
            Err(_) => found,
        }
    }

    fn none(reason: String) -> Self {
        Self { absent: Some(reason), ..Self::default() }
    }

    fn ask(nvml: &Nvml) -> Result<Self, NvmlError> {
        let gpus = (0..nvml.device_count()?)
            .map(|index| {
                let device = nvml.device_by_index(index)?;
                let capability = device.cuda_compute_capability()?;
                Ok(Gpu {
                    name: device.name()?,
                    uuid: device.uuid()?,
                    // The lower half is the vendor's id.
                    device_id: (device.pci_info()?.pci_device_id >> 16) as u16,
                    compute_capability: format!("{}.{}", capability.major, capability.minor),
                    memory_bytes: device.memory_info()?.total,
                    // Most kinds of GPUs do not have this mode.
                    divided: device.mig_mode().is_ok_and(|mode| mode.current != 0),
                })
            })
            .collect::<Result<Vec<_>, NvmlError>>()?;
        let absent = gpus.is_empty().then(|| "the NVIDIA driver sees no GPU".to_owned());
        Ok(Self { gpus, driver: Some(nvml.sys_driver_version()?), absent })
    }

    /// The GPUs that `CUDA_VISIBLE_DEVICES=visible` leaves: indices or prefixes of uuids, joined by
    /// commas. As in CUDA, the first that names no GPU ends the list.
    fn visible(mut self, visible: &str) -> Self {
        let named = |name: &str| match name.parse::<usize>() {
            Ok(index) => self.gpus.get(index).cloned(),
            Err(_) => self.gpus.iter().find(|gpu| name.len() > 4 && gpu.uuid.starts_with(name)).cloned(),
        };
        let left: Vec<Gpu> = visible.split(',').map_while(|name| named(name.trim())).collect();
        if left.is_empty() && !self.gpus.is_empty() {
            self.absent = Some(if visible.starts_with("MIG-") {
                "CUDA_VISIBLE_DEVICES names a part of a GPU (MIG), and engines are for whole ones".to_owned()
            } else {
                format!("CUDA_VISIBLE_DEVICES={visible} leaves no GPU")
            });
        }
        self.gpus = left;
        self
    }

    /// The number of GPUs of each kind, for example `8 x NVIDIA H100 80GB HBM3`, or why there are none.
    pub fn describe(&self) -> String {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for gpu in &self.gpus {
            let divided = if gpu.divided { " divided by MIG" } else { "" };
            let kind = format!("{}{divided}", gpu.name);
            match counts.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((kind, 1)),
            }
        }
        if counts.is_empty() {
            return self.absent.clone().unwrap_or_else(|| "there is no GPU".to_owned());
        }
        let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, uuid: &str) -> Gpu {
        Gpu {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            device_id: 0,
            compute_capability: "9.0".to_owned(),
            memory_bytes: 80 << 30,
            divided: false,
        }
    }

    fn three() -> Gpus {
        let gpus = vec![
            gpu("NVIDIA H100 80GB HBM3", "GPU-aa01"),
            gpu("NVIDIA H100 80GB HBM3", "GPU-bb02"),
            gpu("NVIDIA L4", "GPU-cc03"),
        ];
        Gpus { gpus, driver: Some("580.65.06".to_owned()), absent: None }
    }

    fn left(visible: &str) -> Vec<String> {
        three().visible(visible).gpus.into_iter().map(|gpu| gpu.uuid).collect()
    }

    #[test]
    fn asking_a_machine_never_fails_and_says_why_there_is_no_gpu() {
        let found = Gpus::detect();
        assert_eq!(found.gpus.is_empty(), found.absent.is_some(), "{found:?}");
    }

    #[test]
    fn a_gpu_is_known_as_the_target_that_engines_are_built_for() {
        let name = |name| gpu(name, "GPU-1").target().unwrap().map(|target| target.name);
        assert_eq!(name("NVIDIA H100 80GB HBM3").as_deref(), Some("h100-sxm"));
        assert_eq!(name("NVIDIA L4").as_deref(), Some("l4"));
        assert_eq!(name("NVIDIA GeForce GTX 970"), None);
        // What users call a target is not a device's name.
        assert_eq!(name("h100"), None);
        let renamed = Gpu { device_id: 0x2331, ..gpu("a name of a later driver's", "GPU-1") };
        assert_eq!(renamed.target().unwrap().unwrap().name, "h100-pcie");
    }

    #[test]
    fn a_divided_gpu_is_not_one_that_engines_are_built_for_and_is_described_as_divided() {
        let divided = Gpu { divided: true, ..gpu("NVIDIA H100 80GB HBM3", "GPU-1") };
        assert_eq!(divided.target().unwrap(), None);
        let gpus = Gpus { gpus: vec![divided], ..three() };
        assert_eq!(gpus.describe(), "1 x NVIDIA H100 80GB HBM3 divided by MIG");
        let part = three().visible("MIG-0b5e9c1a");
        assert!(part.gpus.is_empty() && part.absent.unwrap().contains("whole"));
    }

    #[test]
    fn only_the_devices_that_cuda_sees_count() {
        assert_eq!(left("0,2"), ["GPU-aa01", "GPU-cc03"]);
        assert_eq!(left("GPU-bb, GPU-aa01"), ["GPU-bb02", "GPU-aa01"]);
        assert_eq!(left("1,7,0"), ["GPU-bb02"]);
        let none = three().visible("");
        assert!(none.gpus.is_empty() && none.absent.unwrap().contains("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn gpus_are_described_by_name_and_number() {
        assert_eq!(three().describe(), "2 x NVIDIA H100 80GB HBM3, 1 x NVIDIA L4");
        assert_eq!(Gpus::none("no driver".to_owned()).describe(), "no driver");
    }
}
