// What kernels/rnn_cells.h needs of kernels/simd.h, for a thread: vectors of one.
#pragma once

#include "cuda/math.h"

#define JADRO_INLINE __device__ __forceinline__

namespace jadro {
namespace {

template <class T>
using Vec = T;

template <class T>
JADRO_INLINE T vtanh(T v) {
  return std::tanh(v);
}
template <class T>
JADRO_INLINE T vsigmoid(T v) {
  return cuda::sigmoid(v);
}

}  // namespace
}  // namespace jadro
