// What kernels/rnn_cells.h, kernels/rnn_option_cells.h and kernels/update_rules.h need of kernels/simd.h, for a thread:
// vectors of one.
#pragma once

#include "cuda/math.h"

#define JADRO_INLINE __device__ __forceinline__

namespace jadro {
namespace {

template <class T>
using Vec = T;

template <class T>
JADRO_INLINE T broadcast(T v) {
  return v;
}

template <class T>
JADRO_INLINE T vtanh(T v) {
  return std::tanh(v);
}
template <class T>
JADRO_INLINE T vsigmoid(T v) {
  return cuda::sigmoid(v);
}

template <class T, int N, int kTanh>
JADRO_INLINE void squash(T* v) {
  for (int k = 0; k < N; ++k) v[k] = k == kTanh ? vtanh(v[k]) : vsigmoid(v[k]);
}

template <class T>
JADRO_INLINE T vsqrt(T v) {
  return std::sqrt(v);
}

}  // namespace
}  // namespace jadro
