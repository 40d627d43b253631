// Elementwise maps, 16 bytes at a time where all arrays lie on such addresses.
#pragma once

#include "cuda/float16.h"
#include "cuda/launch.h"

namespace jadro::cuda {

template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T v[kSize];
};

template <class T>
JADRO_DEVICE bool on_packs(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % sizeof(Pack<T>) == 0;
}

// The numbers from p on; packed: p lies on a pack.
template <class T>
__device__ Pack<T> load_pack(const T* p, bool packed) {
  if (packed) return *reinterpret_cast<const Pack<T>*>(p);
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < Pack<T>::kSize; ++i) pack.v[i] = p[i];
  return pack;
}

// f of the numbers behind a and b, which is computed in Sum<T>.
template <class T, class F>
__device__ T mapped(F f, T a, T b) {
  return static_cast<T>(f(static_cast<Sum<T>>(a), static_cast<Sum<T>>(b)));
}

// y[i] = f(a[i], b[i]); y may be a or b.
template <class T, class F>
__global__ void map_kernel(const T* a, const T* b, T* y, i64 n, i64 packs, F f) {
  constexpr int kSize = Pack<T>::kSize;
  const i64 first = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  const i64 step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = first; i < packs; i += step) {
    const Pack<T> from_a = reinterpret_cast<const Pack<T>*>(a)[i], from_b = reinterpret_cast<const Pack<T>*>(b)[i];
    Pack<T> to;
#pragma unroll
    for (int lane = 0; lane < kSize; ++lane) to.v[lane] = mapped(f, from_a.v[lane], from_b.v[lane]);
    reinterpret_cast<Pack<T>*>(y)[i] = to;
  }
  for (i64 i = packs * kSize + first; i < n; i += step) y[i] = mapped(f, a[i], b[i]);
}

template <class T, class F>
cudaError_t map(const T* a, const T* b, T* y, i64 n, F f, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const i64 packs = on_packs(a) && on_packs(b) && on_packs(y) ? n / Pack<T>::kSize : 0;
  return launch(map_kernel<T, F>, dim3(blocks_for(packs ? packs : n)), dim3(kThreads), 0, stream, a, b, y, n, packs, f);
}

}  // namespace jadro::cuda
