#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// One step of all parameters, in one launch for each 64 of them.
template <class T>
cudaError_t adam_step(const AdamStep<T>& step, const AdamParameter<T>* parameters, i64 count, cudaStream_t stream);

}  // namespace jadro::cuda
