// Sums and maxima over a block, always in the same order.
#pragma once

#include "cuda/launch.h"

namespace jadro::cuda {

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {  // NaN wins
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

// f over the 32 lanes of a warp, to all of them.
template <class T, class F>
__device__ T warp_reduce(T value, F f) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value = f(value, __shfl_xor_sync(~0u, value, mask));
  return value;
}

// f over kGroup neighbouring threads, a warp or the whole block, to all of them; `shared` has a place for each warp.
template <int kGroup, class T, class F>
__device__ T group_reduce(T value, F f, T* shared) {
  static_assert(kGroup == 32 || kGroup % 64 == 0, "a warp, or a block of several");
  value = warp_reduce(value, f);
  if constexpr (kGroup == 32) return value;
  __syncthreads();  // nobody reads the last results any more
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (int warp = 1; warp < kGroup / 32; ++warp) value = f(value, shared[warp]);
  return value;
}

}  // namespace jadro::cuda
