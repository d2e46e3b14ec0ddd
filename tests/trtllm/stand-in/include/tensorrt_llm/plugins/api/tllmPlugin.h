// What Assay uses of TensorRT-LLM's plugins/api/tllmPlugin.h; see ../../../../README.md.
#pragma once

extern "C" bool initTrtLlmPlugins(void* logger = nullptr, char const* libNamespace = "tensorrt_llm");
