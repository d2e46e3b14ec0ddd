#include "tensorrt_llm/plugins/api/tllmPlugin.h"

extern "C" bool initTrtLlmPlugins(void*, char const*) { return true; }
