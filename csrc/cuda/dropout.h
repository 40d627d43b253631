#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// out[n] = numbers offset ... offset + n - 1 of the stream `seed`.
template <class T>
cudaError_t random_uniform(T* out, i64 n, u64 seed, u64 offset, cudaStream_t stream);

// y[n] = x mask / (1 - p). y may be x.
template <class T>
cudaError_t dropout(const T* x, T* y, i64 n, double p, u64 seed, u64 offset, cudaStream_t stream);

}  // namespace jadro::cuda
