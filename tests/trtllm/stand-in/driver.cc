// A library in place of the driver's libnvidia-ml.so.1, for programs that look for GPUs before they load
// TensorRT-LLM: STAND_IN_GPUS (1 if unset) is the number of H100s that it reports. It has the functions that
// `src/hardware/gpus.rs` needs; names, numbers and structures are those of NVML's public interface.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kSuccess = 0;
constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr unsigned kH100 = 0x233010de;
constexpr unsigned long long kMemory = 80ull << 30;

struct PciInfo {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

struct Memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

unsigned count() {
    const char* gpus = std::getenv("STAND_IN_GPUS");
    return gpus ? static_cast<unsigned>(std::strtoul(gpus, nullptr, 10)) : 1;
}

// A device is its index from 1, in a pointer.
unsigned index_of(const void* device) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(device)) - 1;
}

}  // namespace

extern "C" {

int nvmlInit_v2() { return kSuccess; }

int nvmlShutdown() { return kSuccess; }

int nvmlSystemGetDriverVersion(char* version, unsigned length) {
    std::snprintf(version, length, "580.65.06");
    return kSuccess;
}

int nvmlDeviceGetCount_v2(unsigned* devices) {
    *devices = count();
    return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    if (index >= count()) return kInvalidArgument;
    *device = reinterpret_cast<void*>(static_cast<std::uintptr_t>(index) + 1);
    return kSuccess;
}

int nvmlDeviceGetName(const void*, char* name, unsigned length) {
    std::snprintf(name, length, "NVIDIA H100 80GB HBM3");
    return kSuccess;
}

int nvmlDeviceGetUUID(const void* device, char* uuid, unsigned length) {
    std::snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012u", index_of(device));
    return kSuccess;
}

int nvmlDeviceGetPciInfo_v3(const void* device, PciInfo* info) {
    std::memset(info, 0, sizeof *info);
    info->bus = index_of(device) + 1;
    info->pci_device_id = kH100;
    std::snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus);
    return kSuccess;
}

int nvmlDeviceGetCudaComputeCapability(const void*, int* major, int* minor) {
    *major = 9;
    *minor = 0;
    return kSuccess;
}

int nvmlDeviceGetMemoryInfo_v2(const void*, Memory* memory) {
    memory->total = memory->free = kMemory;
    memory->reserved = memory->used = 0;
    return kSuccess;
}

int nvmlDeviceGetMigMode(const void*, unsigned*, unsigned*) { return kNotSupported; }

}  // extern "C"
