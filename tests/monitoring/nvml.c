/* A stand-in for NVIDIA's driver library with one GPU and fixed readings. It has only the functions of NVML's
 * published interface that the server calls. */
#include <stdio.h>
#include <string.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *Device;

static int device;

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(u32 flags) { return (void)flags, 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int result) { return (void)result, "an error of the stand-in"; }
int nvmlDeviceGetCount_v2(u32 *count) { return *count = 1, 0; }
int nvmlDeviceGetHandleByIndex_v2(u32 index, Device *out) { return *out = &device, index == 0 ? 0 : 2; }
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) { return (void)uuid, *out = &device, 0; }
int nvmlDeviceGetName(Device d, char *name, u32 size) { return (void)d, snprintf(name, size, "Stand-in GPU"), 0; }
int nvmlDeviceGetUUID(Device d, char *uuid, u32 size) { return (void)d, snprintf(uuid, size, "GPU-0001"), 0; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { return snprintf(text, size, "0.0"), 0; }
int nvmlDeviceGetCudaComputeCapability(Device d, int *major, int *minor) { return (void)d, *major = 9, *minor = 0, 0; }

struct Pci { char bus_legacy[16]; u32 domain, bus, device, device_id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(Device d, struct Pci *pci) {
    (void)d;
    memset(pci, 0, sizeof *pci);
    return pci->device_id = 0x233010de, 0;
}

struct Memory { u32 version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(Device d, struct Memory *memory) {
    (void)d;
    return *memory = (struct Memory){memory->version, 80ull << 30, 0, 60ull << 30, 20ull << 30}, 0;
}

struct Utilization { u32 gpu, memory; };
int nvmlDeviceGetUtilizationRates(Device d, struct Utilization *rates) {
    (void)d;
    return *rates = (struct Utilization){50, 25}, 0;
}

int nvmlDeviceGetPowerUsage(Device d, u32 *milliwatts) { return (void)d, *milliwatts = 350000, 0; }
int nvmlDeviceGetEnforcedPowerLimit(Device d, u32 *milliwatts) { return (void)d, *milliwatts = 700000, 0; }
int nvmlDeviceGetTotalEnergyConsumption(Device d, u64 *millijoules) { return (void)d, *millijoules = 12345000, 0; }
