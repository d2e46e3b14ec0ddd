//! Machines that an engine can be built or planned for: `engines/targets/*.yaml`, embedded.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One machine, or one GPU of a kind. Figures are the maker's, dense, per GPU.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareTarget {
    /// How a user names it, for example `h100-sxm`.
    pub name: String,
    /// The product's full name.
    pub title: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What computes.
    pub kind: Kind,
    /// Device names as NVML prints them.
    pub devices: Vec<String>,
    /// PCI device ids, for devices that the driver reports under another name.
    pub device_ids: Vec<u16>,
    /// CUDA compute capability, `major.minor`; GPUs only.
    pub compute_capability: Option<String>,
    /// Memory in 10^9 bytes.
    pub memory_gb: f64,
    /// Memory bandwidth in 10^9 bytes per second.
    pub memory_gb_per_s: f64,
    /// Bandwidth to the other GPUs of the machine, each way, in 10^9 bytes per second.
    pub link_gb_per_s: f64,
    /// Dense matrix-product rates in 10^12 operations per second.
    pub dense_tflops: BTreeMap<Precision, f64>,
    /// Where the figures are from.
    pub source: String,
    /// What else to know about them.
    pub note: Option<String>,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The embedded CPU engine.
    Cpu,
    /// An NVIDIA GPU, driven by TensorRT-LLM.
    Gpu,
}

/// Number format of weights and of the matrix products with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16; float16 has the same rate on every target here.
    Bf16,
    /// 8-bit floats.
    Fp8,
    /// 8-bit integers.
    Int8,
    /// 4-bit floats.
    Fp4,
}

impl Precision {
    /// Bytes of one weight; scales of blocks are not counted.
    pub fn bytes(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Bf16 => 2.0,
            Self::Fp8 | Self::Int8 => 1.0,
            Self::Fp4 => 0.5,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Fp4 => "fp4",
        })
    }
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum TargetError {
    /// No such target.
    #[error("unknown target {name:?}; known are {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        known: Vec<String>,
    },
    /// A target file of this build is malformed.
    #[error("engines/targets/{file}.yaml is not a valid target: {reason}")]
    Invalid {
        /// Name of the file, without its ending.
        file: &'static str,
        /// What the parser says, with the line.
        reason: String,
    },
    /// The target does not compute in this precision.
    #[error("{title} has no rate for {precision}; it has {}", known.join(", "))]
    Precision {
        title: String,
        /// What was asked for.
        precision: Precision,
        known: Vec<String>,
    },
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../engines/targets/", $name, ".yaml")))),*]
    };
}

/// Every file of `engines/targets`, in the order in which they are listed.
const FILES: &[(&str, &str)] = embed![
    "cpu",
    "a100-sxm4-40gb",
    "a100-sxm4-80gb",
    "a100-pcie-40gb",
    "a100-pcie-80gb",
    "a10",
    "l4",
    "l40s",
    "rtx-4090",
    "rtx-6000-ada",
    "h100-pcie",
    "h100-sxm",
    "h100-nvl",
    "h200",
    "gh200",
    "gh200-144gb",
    "b200",
    "gb200",
    "rtx-pro-6000-blackwell",
];

impl HardwareTarget {
    /// All targets.
    ///
    /// # Errors
    /// [`TargetError::Invalid`] when a file of this build is malformed.
    pub fn all() -> Result<Vec<Self>, TargetError> {
        FILES.iter().map(|(file, text)| Self::parse(file, text)).collect()
    }

    /// The target called `name`, by its name, an alias or a device's name; case does not matter.
    ///
    /// # Errors
    /// [`TargetError::Unknown`], listing those there are.
    pub fn find(name: &str) -> Result<Self, TargetError> {
        let all = Self::all()?;
        match all.iter().find(|target| target.names().any(|known| known.eq_ignore_ascii_case(name))) {
            Some(target) => Ok(target.clone()),
            None => {
                let known = all.into_iter().map(|target| target.name).collect();
                Err(TargetError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// The target that a device is, by its name as NVML prints it.
    ///
    /// # Errors
    /// [`TargetError::Invalid`] when a file of this build is malformed.
    pub fn from_device(device: &str) -> Result<Option<Self>, TargetError> {
        Ok(Self::all()?.into_iter().find(|target| target.devices.iter().any(|known| known == device)))
    }

    /// Its shortest name, which is its part of a profile's: `h100` for `h100-sxm`.
    pub fn short_name(&self) -> &str {
        let names = std::iter::once(&self.name).chain(&self.aliases);
        names.min_by_key(|name| name.len()).map_or("", String::as_str)
    }

    /// Dense rate in operations per second.
    ///
    /// # Errors
    /// [`TargetError::Precision`], listing what the target has.
    pub fn rate(&self, precision: Precision) -> Result<f64, TargetError> {
        match self.dense_tflops.get(&precision) {
            Some(tflops) => Ok(tflops * 1e12),
            None => Err(TargetError::Precision {
                title: self.title.clone(),
                precision,
                known: self.dense_tflops.keys().map(Precision::to_string).collect(),
            }),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.aliases.iter().chain(&self.devices);
        std::iter::once(&self.name).chain(others).map(String::as_str)
    }

    fn parse(file: &'static str, text: &str) -> Result<Self, TargetError> {
        serde_saphyr::from_str(text).map_err(|error| TargetError::Invalid { file, reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_file_is_embedded_and_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/targets");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let embedded: BTreeSet<String> = HardwareTarget::all().unwrap().into_iter().map(|t| t.name).collect();
        assert_eq!(embedded, on_disk);
    }

    #[test]
    fn figures_are_dense_and_in_the_units_they_claim() {
        for target in HardwareTarget::all().unwrap().iter().filter(|target| target.kind == Kind::Gpu) {
            let rate = |precision| target.dense_tflops.get(&precision).copied();
            let bf16 = rate(Precision::Bf16).unwrap();
            // Every GPU here doubles its rate from 16 to 8 bits; a ratio of 4 would be a sparse figure.
            for eight in [rate(Precision::Fp8), rate(Precision::Int8)].into_iter().flatten() {
                let ratio = eight / bf16;
                let accumulation = if target.name == "rtx-4090" { 4.0 } else { 2.0 };
                assert!((1.9..=accumulation * 1.05).contains(&ratio), "{}: {ratio}", target.name);
            }
            assert!((24.0..=200.0).contains(&target.memory_gb), "{}", target.name);
            assert!((300.0..=8000.0).contains(&target.memory_gb_per_s), "{}", target.name);
            assert!(!target.device_ids.is_empty(), "{}", target.name);
            assert!(!target.devices.is_empty() && target.compute_capability.is_some(), "{}", target.name);
        }
    }

    #[test]
    fn a_name_means_one_target() {
        let all = HardwareTarget::all().unwrap();
        let names: Vec<&str> = all.iter().flat_map(HardwareTarget::names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let ids: Vec<u16> = all.iter().flat_map(|target| target.device_ids.iter().copied()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn h100_means_the_sxm_module() {
        assert_eq!(HardwareTarget::find("h100").unwrap().name, "h100-sxm");
        assert_eq!(HardwareTarget::find("NVIDIA H100 80GB HBM3").unwrap().name, "h100-sxm");
    }

    #[test]
    fn an_unknown_target_is_refused_with_the_known_ones() {
        let message = HardwareTarget::find("h9000").unwrap_err().to_string();
        assert!(message.contains("\"h9000\"") && message.contains("h100-sxm"), "{message}");
    }

    #[test]
    fn a_precision_the_target_lacks_is_refused_with_those_it_has() {
        let message = HardwareTarget::find("a10").unwrap().rate(Precision::Fp8).unwrap_err().to_string();
        assert!(message.contains("no rate for fp8; it has bf16, int8"), "{message}");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = format!("{}\nwatts: 700\n", FILES[11].1);
        assert!(HardwareTarget::parse("h100-sxm", &text).unwrap_err().to_string().contains("watts"));
    }
}
