//! Gauges of the GPUs that this process may use. There are none without NVIDIA's driver.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use prometheus::{GaugeVec, Opts, Registry};

use super::names::{self, Name};
use crate::hardware::gpus::Gpus;

/// The driver, and what it is asked at each scrape.
pub(super) struct GpuGauges {
    nvml: Nvml,
    /// NVML's name of each.
    uuids: Vec<String>,
    utilization: GaugeVec,
    power: GaugeVec,
    power_limit: GaugeVec,
    energy: GaugeVec,
    memory: GaugeVec,
    memory_used: GaugeVec,
}

impl GpuGauges {
    /// The gauges, registered, if there is a GPU.
    ///
    /// # Errors
    /// Two metrics share a name: a mistake in [`names`].
    pub(super) fn find(registry: &Registry) -> prometheus::Result<Option<Self>> {
        let Ok(nvml) = Nvml::init() else { return Ok(None) };
        let uuids: Vec<String> = Gpus::find().gpus.into_iter().map(|gpu| gpu.uuid).collect();
        if uuids.is_empty() {
            return Ok(None);
        }
        let make = |(name, help): Name| {
            let gauge = GaugeVec::new(Opts::new(name, help), &["device_id"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Some(Self {
            nvml,
            uuids,
            utilization: make(names::GPU_UTILIZATION)?,
            power: make(names::GPU_POWER)?,
            power_limit: make(names::GPU_POWER_LIMIT)?,
            energy: make(names::GPU_ENERGY)?,
            memory: make(names::GPU_MEMORY)?,
            memory_used: make(names::GPU_MEMORY_USED)?,
        }))
    }

    /// Asks the driver. What one GPU does not tell keeps the value it had; a scrape never fails for it.
    pub(super) fn refresh(&self) {
        for (index, uuid) in self.uuids.iter().enumerate() {
            if let Ok(device) = self.nvml.device_by_uuid(uuid.as_str()) {
                self.read(&index.to_string(), &device);
            }
        }
    }

    /// NVML counts in per cent, milliwatts and millijoules.
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
