// The tensors of a mapped weights file, by name.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "engine.h"

namespace assay::cpu {

// Does not own the tensors' memory.
class Weights {
  public:
    void add(std::string name, std::span<const std::byte> data) { tensors_[std::move(name)] = data; }

    // The tensor, which must have at least `bytes` bytes and start at a multiple of 64 bytes.
    template <typename T>
    const T* find(const std::string& name, std::size_t bytes) const {
        const auto found = tensors_.find(name);
        if (found == tensors_.end()) throw EngineError("the weights have no tensor `" + name + "`");
        const std::span<const std::byte> data = found->second;
        if (data.size() < bytes)
            throw EngineError("tensor `" + name + "` has " + std::to_string(data.size()) + " bytes, not " +
                              std::to_string(bytes));
        if (reinterpret_cast<std::uintptr_t>(data.data()) % 64 != 0)
            throw EngineError("tensor `" + name + "` does not start at a multiple of 64 bytes");
        return reinterpret_cast<const T*>(data.data());
    }

  private:
    std::map<std::string, std::span<const std::byte>> tensors_;
};

}  // namespace assay::cpu
