// Requests and responses, with the checks that the library makes of them.

#include <stdexcept>
#include <string>

#include "tensorrt_llm/executor/executor.h"

namespace tensorrt_llm::executor {

void SamplingConfig::setTopP(std::optional<FloatType> const& topP) {
    if (topP && (*topP <= 0 || *topP > 1))
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: topP should be in (0, 1]");
    top_p_ = topP;
}

Request::Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming)
    : tokens_(std::move(inputTokenIds)), max_tokens_(maxTokens), streaming_(streaming) {
    if (tokens_.empty() || max_tokens_ < 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: !inputTokenIds.empty()");
}

void Request::setPriority(PriorityType priority) {
    if (priority < 0 || priority > 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Priority should be in [0, 1]");
    priority_ = priority;
}

Response::Response(IdType requestId, std::string errorMsg, std::optional<IdType>)
    : request_(requestId), error_(std::move(errorMsg)) {}

Response::Response(IdType requestId, Result Result, std::optional<IdType>)
    : request_(requestId), result_(std::move(Result)) {}

std::string const& Response::getErrorMsg() const {
    if (!error_) throw std::runtime_error("[TensorRT-LLM][ERROR] Cannot get error message: no error");
    return *error_;
}

Result const& Response::getResult() const {
    if (!result_) throw std::runtime_error("[TensorRT-LLM][ERROR] Cannot get result: there was an error");
    return *result_;
}

}  // namespace tensorrt_llm::executor
