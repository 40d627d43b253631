#pragma once

#include "cuda/windows.h"

namespace jadro::cuda {

// Means over windows: sums over the places inside, divided by the divisor, or where it is 0 by the places of the
// window, with padding_counts those in the padding too.
struct AvgPoolProblem {
  i64 planes;
  Windows3 windows;
  bool padding_counts;
  i64 divisor;
};

template <class T>
cudaError_t avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y, cudaStream_t stream);
template <class T>
cudaError_t avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx, cudaStream_t stream);

}  // namespace jadro::cuda
