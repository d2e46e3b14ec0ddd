// What Assay uses of TensorRT-LLM's executor/tensor.h; see ../../../README.md.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "tensorrt_llm/executor/types.h"

namespace tensorrt_llm::executor {

class Shape {
  public:
    Shape(std::initializer_list<std::int64_t> dims) {  // NOLINT(*-explicit-constructor)
        for (const std::int64_t dim : dims) size_ *= static_cast<std::size_t>(dim);
    }
    [[nodiscard]] std::size_t volume() const { return size_; }

  private:
    std::size_t size_ = 1;
};

class Tensor {
  public:
    // What the stand-in makes is of 32-bit floats.
    static Tensor cpu(DataType dataType, Shape shape) {
        return Tensor(std::vector<float>(shape.volume()), dataType, MemoryType::kCPU);
    }

    Tensor() noexcept = default;

    // The stand-in's own way to make one.
    Tensor(std::vector<float> values, DataType type, MemoryType memory)
        : storage_(std::make_shared<Storage>(Storage{std::move(values), type, memory})) {}

    [[nodiscard]] void* getData() { return storage_->values.data(); }
    [[nodiscard]] void const* getData() const { return storage_->values.data(); }
    [[nodiscard]] DataType getDataType() const { return storage_->type; }
    [[nodiscard]] MemoryType getMemoryType() const { return storage_->memory; }
    [[nodiscard]] std::size_t getSize() const { return storage_->values.size(); }

  private:
    struct Storage {
        std::vector<float> values;
        DataType type;
        MemoryType memory;
    };
    std::shared_ptr<Storage> storage_;
};

}  // namespace tensorrt_llm::executor
