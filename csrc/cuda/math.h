// Functions of one number that several kernels share.
#pragma once

#include <cmath>

#include "cuda/launch.h"

namespace jadro::cuda {

// 1 / (1 + exp(-v)): exp overflows to infinity where the result underflows to 0.
template <class T>
__device__ T sigmoid(T v) {
  return T(1) / (T(1) + std::exp(-v));
}

template <class T>
__device__ T not_a_number() {
  return static_cast<T>(NAN);
}

}  // namespace jadro::cuda
