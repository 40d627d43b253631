// What every launch shares, and what a kernel needs of its block, grid and shared memory, under nvcc and on the host.
#pragma once

#include <cstdint>

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// The stream that CuPy names by an integer: an address, or 0, 1 and 2 for the runtime's own streams.
inline cudaStream_t stream_of(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

// A thread for each element of a plane along x, planes along y. A grid is at most 65535 high, so kernels step over
// planes by gridDim.y. Offsets in a plane have 32 bits: a plane has less than 2^31 elements.
struct Grid {
  dim3 blocks, threads;
};

inline Grid grid_over(i64 planes, i64 elements) {
  constexpr i64 kWarp = 32, kThreads = 256, kHighest = 65535;
  const i64 warps = (elements + kWarp - 1) / kWarp;
  const i64 threads = warps * kWarp < kThreads ? warps * kWarp : kThreads;
  const i64 blocks = (elements + threads - 1) / threads;
  return {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(planes < kHighest ? planes : kHighest)),
          dim3(static_cast<unsigned>(threads))};
}

// Blocks of kThreads for `items` items, which kernels step over by the grid: enough to fill any card, not more.
constexpr int kThreads = 256;
inline unsigned blocks_for(i64 items) {
  constexpr i64 kMost = 4096;
  const i64 blocks = (items + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

constexpr i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

// Enough work for the blocks of a large card: what splits of a sum are counted against. A constant, so that every card
// gives the same bits. kManyItems fill a card even where a thread takes several. On the host few, so that small
// problems take every path.
#if defined(JADRO_CUDA_HOST)
constexpr i64 kFullGrid = 8, kManyItems = 64;
#else
constexpr i64 kFullGrid = 528, kManyItems = 1 << 20;
#endif

#if defined(__CUDACC__)

constexpr std::size_t kSharedAtHand = 48 << 10;  // more than this a kernel has to ask for

template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), std::size_t shared) {
  if (shared <= kSharedAtHand) return cudaSuccess;
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared));
}

template <class T>
struct Same {
  using Type = T;
};

// kernel(args...) on `blocks` blocks with `shared` bytes of shared memory each.
template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 blocks, dim3 threads, std::size_t shared, cudaStream_t stream,
                   typename Same<P>::Type... args) {
  const cudaError_t error = allow_shared(kernel, shared);
  if (error != cudaSuccess) return error;
  kernel<<<blocks, threads, shared, stream>>>(args...);
  return cudaGetLastError();
}

// The same with all blocks at once: they may meet in meet_blocks().
template <class... P>
cudaError_t launch_together(void (*kernel)(P...), dim3 blocks, dim3 threads, std::size_t shared, cudaStream_t stream,
                            typename Same<P>::Type... args) {
  const cudaError_t error = allow_shared(kernel, shared);
  if (error != cudaSuccess) return error;
  void* pointers[] = {static_cast<void*>(&args)...};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), blocks, threads, pointers, shared, stream);
}

template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char jadro_shared[];
  return reinterpret_cast<T*>(jadro_shared);
}

// Blocks [first, first + count) of a grid that runs at once: what one wrote before is seen by all after. `flags` has a
// number for each block, 0 before the first turn. (PTX ISA, "Memory Consistency Model": a release that the barrier of
// the block makes cumulative, and an acquire.)
__device__ inline void meet_blocks(unsigned* flags, unsigned first, unsigned count, unsigned turn) {
  __syncthreads();
  if (count == 1) return;
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flags + blockIdx.x), "r"(turn) : "memory");
  }
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    unsigned seen;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flags + first + i) : "memory");
    } while (seen < turn);
  }
  __syncthreads();
}

// What another block may have written: past the first-level cache.
template <class T>
__device__ T load_shared_by_blocks(const T* p) {
  if constexpr (sizeof(T) == 16) {
    const uint4 words = __ldcg(reinterpret_cast<const uint4*>(p));
    return *reinterpret_cast<const T*>(&words);
  } else if constexpr (sizeof(T) == 2) {
    const unsigned short bits = __ldcg(reinterpret_cast<const unsigned short*>(p));
    return *reinterpret_cast<const T*>(&bits);
  } else {
    return __ldcg(p);
  }
}

// On its way to the second-level cache.
__device__ inline void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

#elif defined(JADRO_CUDA_HOST)

template <class T>
struct Same {
  using Type = T;
};

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 blocks, dim3 threads, std::size_t shared, cudaStream_t,
                   typename Same<P>::Type... args) {
  return host::run(blocks, threads, shared, false, [&] { kernel(args...); });
}

template <class... P>
cudaError_t launch_together(void (*kernel)(P...), dim3 blocks, dim3 threads, std::size_t shared, cudaStream_t,
                            typename Same<P>::Type... args) {
  return host::run(blocks, threads, shared, true, [&] { kernel(args...); });
}

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(host::dynamic_shared());
}

inline void meet_blocks(unsigned*, unsigned, unsigned, unsigned) { host::wait_for_grid(); }

template <class T>
T load_shared_by_blocks(const T* p) {
  return *p;
}

inline void prefetch(const void*) {}

#endif

}  // namespace jadro::cuda
