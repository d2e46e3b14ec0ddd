// What the bridges to Rust share: exceptions become errors, slices become spans.
#pragma once

#include <exception>
#include <span>

#include "engine.h"
#include "rust/cxx.h"

namespace rust::behavior {

// Takes the place of cxx's own, which would let an exception that is not a std::exception escape into Rust.
template <typename Try, typename Fail>
static void trycatch(Try&& function, Fail&& fail) noexcept try {
    function();
} catch (const std::exception& error) {
    fail(error.what());
} catch (...) {
    fail("the C++ engine threw a non-std::exception");
}

}  // namespace rust::behavior

namespace assay::bridge {

template <typename T>
std::span<T> span_of(rust::Slice<T> slice) {
    return {slice.data(), slice.size()};
}

// The elements from `begin` to `end`. Throws EngineError, which names the part as `what`, if they are not all
// there.
template <typename T>
std::span<T> part_of(std::span<T> all, std::size_t begin, std::size_t end, const std::string& what) {
    if (begin > end || end > all.size()) throw EngineError(what + " is out of range");
    return all.subspan(begin, end - begin);
}

}  // namespace assay::bridge
