#pragma once

#include "cuda/windows.h"

namespace jadro::cuda {

template <class T>
cudaError_t avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y, cudaStream_t stream);
template <class T>
cudaError_t avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx, cudaStream_t stream);

}  // namespace jadro::cuda
