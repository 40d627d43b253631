// What every launch shares. Kernels of one plane compute with 32-bit offsets: a plane has less than 2^31 elements.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/shapes.h"

namespace jadro::cuda {

// The stream that CuPy names by an integer: an address, or 0, 1 and 2 for the runtime's own streams.
inline cudaStream_t stream_of(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

// A thread for each element of a plane along x, planes along y. A grid is at most 65535 high, so kernels step over
// planes by gridDim.y.
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

}  // namespace jadro::cuda
