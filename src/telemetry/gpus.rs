//! Gauges of the GPUs that this process may use; none without NVIDIA's driver.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use prometheus::GaugeVec;

use super::names;
use super::registrar::Registrar;
use crate::hardware::Gpus;

/// Reads the driver at each scrape.
pub(super) struct GpuGauges {
    nvml: Nvml,
    /// NVML's identifiers of the GPUs.
    uuids: Vec<String>,
    utilization: GaugeVec,
    power: GaugeVec,
    power_limit: GaugeVec,
    energy: GaugeVec,
    memory: GaugeVec,
    memory_used: GaugeVec,
}

impl GpuGauges {
    /// Registers the gauges, if there is a GPU.
    ///
    /// # Errors
    /// Two metrics have the same name: a mistake in [`names`].
    pub(super) fn detect(make: &Registrar<'_>) -> prometheus::Result<Option<Self>> {
        let Ok(nvml) = Nvml::init() else { return Ok(None) };
        let uuids: Vec<String> = Gpus::detect().gpus.into_iter().map(|gpu| gpu.uuid).collect();
        if uuids.is_empty() {
            return Ok(None);
        }
        let gauges = |name| make.float_gauges(name, &["device_id"]);
        Ok(Some(Self {
            nvml,
            uuids,
            utilization: gauges(names::GPU_UTILIZATION)?,
            power: gauges(names::GPU_POWER)?,
            power_limit: gauges(names::GPU_POWER_LIMIT)?,
            energy: gauges(names::GPU_ENERGY)?,
            memory: gauges(names::GPU_MEMORY)?,
            memory_used: gauges(names::GPU_MEMORY_USED)?,
        }))
    }

    /// Reads the driver. A value that a GPU does not report stays as it was, so that a scrape never fails.
    pub(super) fn refresh(&self) {
        for (index, uuid) in self.uuids.iter().enumerate() {
            if let Ok(device) = self.nvml.device_by_uuid(uuid.as_str()) {
                self.read(&index.to_string(), &device);
            }
        }
    }

    /// NVML reports percentages, milliwatts and millijoules.
    fn read(&self, id: &str, device: &Device<'_>) {
        let set = |gauge: &GaugeVec, value: Result<f64, NvmlError>| {
            if let Ok(value) = value {
                gauge.with_label_values(&[id]).set(value);
            }
        };
        set(&self.utilization, device.utilization_rates().map(|rates| f64::from(rates.gpu) / 100.0));
        set(&self.power, device.power_usage().map(|milliwatts| f64::from(milliwatts) / 1e3));
        set(&self.power_limit, device.enforced_power_limit().map(|milliwatts| f64::from(milliwatts) / 1e3));
        set(&self.energy, device.total_energy_consumption().map(|millijoules| millijoules as f64 / 1e3));
        if let Ok(memory) = device.memory_info() {
            set(&self.memory, Ok(memory.total as f64));
            set(&self.memory_used, Ok(memory.used as f64));
        }
    }
}
