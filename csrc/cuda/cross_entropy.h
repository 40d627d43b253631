#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// losses[rows] and lse[rows] of the problem, whose weight_sum is not read. A row whose target is neither a class nor
// ignore_index gives NaN.
template <class T>
cudaError_t cross_entropy_forward(const CrossEntropy<T>& problem, i64 rows, T* losses, T* lse, cudaStream_t stream);

template <class T>
cudaError_t cross_entropy_backward(const CrossEntropy<T>& problem, i64 rows, const T* lse, const T* dlosses, T* dx,
                                   cudaStream_t stream);

}  // namespace jadro::cuda
