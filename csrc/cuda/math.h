// Functions of one number that several kernels share.
#pragma once

#include <cmath>

#include "cuda/float16.h"
#include "cuda/launch.h"

namespace jadro::cuda {

// As it is computed with.
template <class T>
__device__ Sum<T> number(T v) {
  return static_cast<Sum<T>>(v);
}

// 1 / (1 + exp(-v)): exp overflows to infinity where the result underflows to 0.
template <class T>
__device__ T sigmoid(T v) {
  return T(1) / (T(1) + std::exp(-v));
}

// a b, rounded: never part of a fused sum, so that equal products cancel.
#if defined(__CUDACC__)
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }
#else
template <class T>
T product(T a, T b) {
  return a * b;
}
#endif

template <class T>
__device__ T not_a_number() {
  return static_cast<T>(NAN);
}

}  // namespace jadro::cuda
