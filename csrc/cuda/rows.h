// Rows whose numbers are neighbours, held in the registers of a warp, or of a block where they are longer: each number
// is read once, 16 bytes at a time where rows lie on such addresses. Which thread has which number depends on the
// length alone.
#pragma once

#include "cuda/map.h"
#include "cuda/reduce.h"

namespace jadro::cuda {

template <int kGroup, class T>
struct HeldRow {
  static constexpr int kSize = sizeof(T) == 8 ? 2 : 4, kPacks = 8, kItems = kPacks * kSize;
  static constexpr i64 kMost = static_cast<i64>(kGroup) * kItems;  // numbers of a row
  struct alignas(kSize * sizeof(T)) Run {
    T v[kSize];
  };
  Sum<T> v[kItems];  // 0 behind the end of the row

  __device__ static int first_of(int pack) { return (pack * kGroup + static_cast<int>(threadIdx.x) % kGroup) * kSize; }

  // f(a number, its place in the row)
  template <class F>
  __device__ void each(int n, F f) {
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      if (first_of(j) >= n) continue;
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        if (first_of(j) + i < n) f(v[j * kSize + i], first_of(j) + i);
      }
    }
  }

  __device__ void load(const T* row, int n, bool packed) {
    Run packs[kPacks];
#pragma unroll
    for (int j = 0; j < kPacks; ++j) packs[j] = load_pack(row, first_of(j), n, packed);
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) v[j * kSize + i] = static_cast<Sum<T>>(packs[j].v[i]);
    }
  }

  // row[k] = f(number k, k)
  template <class F>
  __device__ void store(T* row, int n, bool packed, F f) {
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      const int first = first_of(j);
      if (first >= n) continue;
      Run pack{};
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        if (first + i < n) pack.v[i] = static_cast<T>(f(v[j * kSize + i], first + i));
      }
      if (packed) {
        *reinterpret_cast<Run*>(row + first) = pack;
        continue;
      }
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        if (first + i < n) row[first + i] = pack.v[i];
      }
    }
  }

  // Numbers first, first + 1, ... of a row of n; 0 behind its end.
  __device__ static Run load_pack(const T* row, int first, int n, bool packed) {
    Run pack{};
    if (packed) {
      if (first < n) pack = *reinterpret_cast<const Run*>(row + first);
      return pack;
    }
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if (first + i < n) pack.v[i] = row[first + i];
    }
    return pack;
  }
};

// Whether the rows of n numbers of all these arrays begin on packs.
template <class T, class... P>
__device__ bool rows_on_packs(i64 n, const T* first, const P*... more) {
  return n % Pack<T>::kSize == 0 && on_packs(first) && (on_packs(more) && ...);
}

// f(row) for the rows of this group of kGroup threads.
template <int kGroup, class F>
__device__ void for_rows(i64 rows, F f) {
  constexpr int kGroups = kThreads / kGroup;
  const i64 step = static_cast<i64>(gridDim.x) * kGroups;
  for (i64 row = static_cast<i64>(blockIdx.x) * kGroups + threadIdx.x / kGroup; row < rows; row += step) f(row);
}

// Launches the kernel of rows that a warp holds, that a block holds, or that nobody does.
template <class T, class Kernel, class LongKernel, class... Arguments>
cudaError_t launch_rows(i64 rows, i64 n, cudaStream_t stream, Kernel warp, Kernel block, LongKernel longer,
                        Arguments... arguments) {
  const bool by_warps = n <= HeldRow<32, T>::kMost;
  const dim3 blocks(blocks_for(rows * (by_warps ? 32 : kThreads)));
  constexpr std::size_t kShared = kThreads / 32 * sizeof(double);
  if (n > HeldRow<kThreads, T>::kMost) return launch(longer, blocks, dim3(kThreads), kShared, stream, arguments...);
  return launch(by_warps ? warp : block, blocks, dim3(kThreads), kShared, stream, arguments...);
}

}  // namespace jadro::cuda
