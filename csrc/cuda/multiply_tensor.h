// The tile of multiply.h on tensor cores: 16-bit floats, and float32 as TF32 where that is asked for, summed in
// float32.
//
// A slice of an operand stands in shared memory by rows of A and columns of B, 64 bytes of the depth each and 16 of
// slack, so that the words of a warp's fragments lie in different banks. Elements come through registers; the next
// slice is on its way while this one is multiplied. Eight warps, two by four, share the tile out. Operands that lie in
// memory in pieces of 16 bytes take the tile of multiply_pieces.h instead.
#pragma once

#include <atomic>

#include "cuda/multiply.h"

namespace jadro::cuda {

// Whether products of float32 may round their operands to TF32, 10 bits of the mantissa.
inline std::atomic<bool> tf32_allowed{false};

constexpr int kWordDepth = 16, kWordRow = kWordDepth + 4;  // words of a row in shared memory

template <class T>
constexpr int kTensorDepth = kWordDepth * 4 / static_cast<int>(sizeof(T));

// As Fetcher, of several depths at once.
template <class T, int kTile, class Operand>
struct TensorFetcher {
  static constexpr int kPlaces = kTile / kAcross, kSteps = kTensorDepth<T> / kDepth;
  static constexpr int kRow = kWordRow * 4 / static_cast<int>(sizeof(T));
  using Place = decltype(std::declval<Operand>().place(0));

  const Operand& operand;
  int k, first;
  Place places[kPlaces];
  T values[kSteps][kPlaces];

  __device__ TensorFetcher(const Operand& operand, i64 origin) : operand(operand) {
    const int t = static_cast<int>(threadIdx.x);
    k = operand.along_depth ? t % kDepth : t / kAcross;
    first = operand.along_depth ? t / kDepth : t % kAcross;
#pragma unroll
    for (int i = 0; i < kPlaces; ++i) places[i] = operand.place(origin + first + i * kAcross);
  }
  __device__ void fetch(i64 k0, i64 end) {
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      const i64 at = k0 + k + j * kDepth;
      const auto step = operand.step(at < end ? at : -1);
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) values[j][i] = operand.at(places[i], step);
    }
  }
  __device__ void leave(T* buffer) const {
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) buffer[(first + i * kAcross) * kRow + k + j * kDepth] = values[j][i];
    }
  }
};

// The word of a fragment, as the tensor core takes it.
template <class T>
__device__ u32 fragment(const u32* word) {
  if constexpr (std::is_same_v<T, float>) return round_tf32(word_at(word));
  return word_at(word);
}

template <int kTileRows, int kTileColumns>
struct WarpTile {
  static constexpr int kRows = kTileRows / 2, kColumns = kTileColumns / 4, kDown = kRows / 16, kAlong = kColumns / 8;
  int row, column, g, w;  // of the warp in the tile, and of the lane in a fragment

  __device__ WarpTile() {
    const int t = static_cast<int>(threadIdx.x), warp = t / 32;
    row = warp / 4 * kRows;
    column = warp % 4 * kColumns;
    g = t % 32 / 4;
    w = t % 4;
  }
};

// sums += the warp's part of the product of two slices.
template <class T, int kTile>
__device__ void multiply_slices(const u32* a, const u32* b, const WarpTile<kTile, kTile>& warp,
                                float (&sums)[WarpTile<kTile, kTile>::kDown][WarpTile<kTile, kTile>::kAlong][4]) {
  constexpr int kDown = WarpTile<kTile, kTile>::kDown, kAlong = WarpTile<kTile, kTile>::kAlong;
#pragma unroll
  for (int k = 0; k < kWordDepth; k += 8) {
    u32 left[kDown][4], right[kAlong][2];
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      const u32* const from = a + (warp.row + i * 16 + warp.g) * kWordRow + k + warp.w;
      left[i][0] = fragment<T>(from);
      left[i][1] = fragment<T>(from + 8 * kWordRow);
      left[i][2] = fragment<T>(from + 4);
      left[i][3] = fragment<T>(from + 8 * kWordRow + 4);
    }
#pragma unroll
    for (int j = 0; j < kAlong; ++j) {
      const u32* const from = b + (warp.column + j * 8 + warp.g) * kWordRow + k + warp.w;
      right[j][0] = fragment<T>(from);
      right[j][1] = fragment<T>(from + 4);
    }
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAlong; ++j) tensor_product<T>(sums[i][j], left[i], right[j]);
    }
  }
}

template <int kTile, class Result>
__device__ void store_tensor_tile(
    const Product& p, const Result& c, const TilePlace& at, const WarpTile<kTile, kTile>& warp,
    const float (&sums)[WarpTile<kTile, kTile>::kDown][WarpTile<kTile, kTile>::kAlong][4]) {
#pragma unroll
  for (int j = 0; j < 2 * WarpTile<kTile, kTile>::kAlong; ++j) {
    const i64 column = at.column + warp.column + j / 2 * 8 + 2 * warp.w + j % 2;
    if (column >= p.columns) continue;
    const auto place = c.place(column);
#pragma unroll
    for (int i = 0; i < 2 * WarpTile<kTile, kTile>::kDown; ++i) {
      const i64 row = at.row + warp.row + i / 2 * 16 + i % 2 * 8 + warp.g;
      if (row < p.rows) c.put(place, row, sums[i / 2][j / 2][i % 2 * 2 + j % 2]);
    }
  }
}

template <class T, int kTile, class A, class B, class C>
__global__ void __launch_bounds__(kThreads)
    tensor_kernel(Product p, i64 slice_depth, A a, B b, C c, Slices<float> slices) {
  constexpr int kRow = kWordRow * 4 / static_cast<int>(sizeof(T)), kBuffer = kTile * kRow;
  const TilePlace at(p, slice_depth, kTile, kTile);
  const WarpTile<kTile, kTile> warp;
  a.select(at.batch);
  b.select(at.batch);
  T* const shared = dynamic_shared<T>();
  TensorFetcher<T, kTile, A> from_a(a, at.row);
  TensorFetcher<T, kTile, B> from_b(b, at.column);
  float sums[WarpTile<kTile, kTile>::kDown][WarpTile<kTile, kTile>::kAlong][4] = {};
  if (at.begin < at.end) {
    from_a.fetch(at.begin, at.end);
    from_b.fetch(at.begin, at.end);
  }
  int turn = 0;
  for (i64 k0 = at.begin; k0 < at.end; k0 += kTensorDepth<T>, turn ^= 1) {
    T* const buffer = shared + turn * 2 * kBuffer;
    from_a.leave(buffer);
    from_b.leave(buffer + kBuffer);
    __syncthreads();
    if (k0 + kTensorDepth<T> < at.end) {
      from_a.fetch(k0 + kTensorDepth<T>, at.end);
      from_b.fetch(k0 + kTensorDepth<T>, at.end);
    }
    multiply_slices<T, kTile>(reinterpret_cast<const u32*>(buffer), reinterpret_cast<const u32*>(buffer + kBuffer),
                              warp, sums);
  }
  if (p.slices > 1) {
    store_tensor_tile<kTile>(p, SliceResult<float>{slices.of(at.batch, at.slice), p.columns}, at, warp, sums);
  } else {
    c.select(at.batch);
    store_tensor_tile<kTile>(p, c, at, warp, sums);
  }
}

template <class T, int kTile, class A, class B, class C>
cudaError_t tensor_with(const Product& p, const A& a, const B& b, const C& c, const Slices<float>& slices,
                        cudaStream_t stream) {
  if (tiles_of(p, kTile, kTile) > INT32_MAX) return cudaErrorInvalidValue;
  constexpr std::size_t kShared = 4 * kTile * kWordRow * 4;
  return launch(tensor_kernel<T, kTile, A, B, C>, dim3(static_cast<unsigned>(tiles_of(p, kTile, kTile))),
                dim3(kThreads), kShared, stream, p, p.slice_depth(), a, b, c, slices);
}

template <class T, class A, class B, class C>
cudaError_t multiply_on_tensor_cores(const Product& p, const A& a, const B& b, const C& c, void* scratch,
                                     cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0 || p.batches == 0) return cudaSuccess;
  const Slices<float> slices{static_cast<float*>(scratch), p.rows, p.columns, p.slices};
  const cudaError_t error = wants_large_tile(p, 128) ? tensor_with<T, 128>(p, a, b, c, slices, stream)
                                                     : tensor_with<T, 64>(p, a, b, c, slices, stream);
  return error == cudaSuccess ? add_slices(p, c, slices, stream) : error;
}

template <class T>
bool uses_tensor_cores() {
  if constexpr (std::is_same_v<T, float>) return tf32_allowed;
  return sizeof(T) == 2;
}

template <class T, class A, class B, class C>
cudaError_t multiply(const Product& p, const A& a, const B& b, const C& c, void* scratch, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0 || p.batches == 0) return cudaSuccess;
  if constexpr (!std::is_same_v<T, double>) {
    if (uses_tensor_cores<T>()) return multiply_on_tensor_cores<T>(p, a, b, c, scratch, stream);
  }
  if constexpr (sizeof(T) > 2) return multiply_exactly<T>(p, a, b, c, scratch, stream);
  return cudaErrorInvalidValue;
}

}  // namespace jadro::cuda
