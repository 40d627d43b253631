// Products of pieces in the arithmetic of float itself: the tile of multiply.h, whose threads fetch 16 bytes at a time,
// all of which count.
#pragma once

#include "cuda/multiply_pieces.h"

namespace jadro::cuda {

// What a thread fetches of a slice, and where it leaves that: rows of shared memory are depths.
template <int kTile, class Operand>
struct ExactFetcher : PieceFetcher<float, kTile, Operand> {
  using Base = PieceFetcher<float, kTile, Operand>;
  using Tile = typename Base::Tile;
  static constexpr int kRow = kTile + kQuad;

  Pack<float> values[Tile::kCount];

  __device__ ExactFetcher(const Operand& operand, i64 origin) : Base(operand, origin) {}
  __device__ void fetch(i64 k0, i64 end) {
    this->each(k0, end, [&](int i, const Piece<float>& piece) {
      values[i] = piece.bytes > 0 ? *reinterpret_cast<const Pack<float>*>(piece.from) : Pack<float>{};
    });
  }
  __device__ void leave(float* buffer) const {
#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      const int row = this->first + i * Tile::kApart;
      if constexpr (Operand::deep) {
#pragma unroll
        for (int j = 0; j < Pack<float>::kSize; ++j) buffer[(this->element + j) * kRow + row] = values[i].v[j];
      } else {
        *reinterpret_cast<Pack<float>*>(buffer + row * kRow + this->element) = values[i];
      }
    }
  }
};

// The thread's quads of columns are runs.
template <int kRows, int kColumns, class Result>
__device__ void store_quads(const Product& p, const Result& c, i64 row, i64 column,
                            const float (&sums)[kRows / kSide][kColumns / kSide]) {
  if constexpr (run_of<Result> == kQuad) {
    if (c.has_runs) return store_tile<float, kRows, kColumns, kQuad>(p, c, row, column, sums);
  }
  store_tile<float, kRows, kColumns>(p, c, row, column, sums);
}

template <int kRows, int kColumns, class A, class B, class C>
__global__ void __launch_bounds__(kThreads, 2)
    exact_piece_kernel(Product p, i64 slice_depth, A a, B b, C c, Slices<float> slices) {
  constexpr int kDeep = kTensorDepth<float>, kRowA = kRows + kQuad, kRowB = kColumns + kQuad;
  constexpr int kBuffer = kDeep * (kRowA + kRowB), kDown = kRows / kSide, kAlong = kColumns / kSide;
  const TilePlace at(p, slice_depth, kRows, kColumns);
  a.select(at.batch);
  b.select(at.batch);
  ExactFetcher<kRows, A> from_a(a, at.row);
  ExactFetcher<kColumns, B> from_b(b, at.column);
  const int down = static_cast<int>(threadIdx.x) / kSide, across = static_cast<int>(threadIdx.x) % kSide;
  float sums[kDown][kAlong] = {};
  from_a.fetch(at.begin, at.end);
  from_b.fetch(at.begin, at.end);
  float* buffer = dynamic_shared<float>();
  int turn = kBuffer;  // to the other buffer
  for (i64 k0 = at.begin; k0 < at.end; k0 += kDeep, buffer += turn, turn = -turn) {
    from_a.leave(buffer);
    from_b.leave(buffer + kDeep * kRowA);
    __syncthreads();
    if (k0 + kDeep < at.end) {
      from_a.fetch(k0 + kDeep, at.end);
      from_b.fetch(k0 + kDeep, at.end);
    }
#pragma unroll
    for (int k = 0; k < kDeep; ++k) {
      float left[kDown], right[kAlong];
      load_quads<float, kDown>(buffer + k * kRowA, down, left);
      load_quads<float, kAlong>(buffer + kDeep * kRowA + k * kRowB, across, right);
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAlong; ++j) sums[i][j] += left[i] * right[j];
      }
    }
  }
  if (p.slices > 1) {
    const SliceResult<float> slice{slices.of(at.batch, at.slice), p.columns};
    store_tile<float, kRows, kColumns>(p, slice, at.row, at.column, sums);
  } else {
    c.select(at.batch);
    store_quads<kRows, kColumns>(p, c, at.row, at.column, sums);
  }
}

template <int kRows, int kColumns, class A, class B, class C>
cudaError_t exact_pieces_with(const Product& p, const A& a, const B& b, const C& c, const Slices<float>& slices,
                              cudaStream_t stream) {
  if (tiles_of(p, kRows, kColumns) > INT32_MAX) return cudaErrorInvalidValue;
  constexpr std::size_t kShared = 2 * kTensorDepth<float> * (kRows + kColumns + 2 * kQuad) * sizeof(float);
  return launch(exact_piece_kernel<kRows, kColumns, A, B, C>, dim3(static_cast<unsigned>(tiles_of(p, kRows, kColumns))),
                dim3(kThreads), kShared, stream, p, p.slice_depth(), a, b, c, slices);
}

// Without the largest tile, which wants more registers than two blocks of a multiprocessor have.
template <class A, class B, class C>
cudaError_t multiply_pieces_exactly(const Product& p, const A& a, const B& b, const C& c, void* scratch,
                                    cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0 || p.batches == 0) return cudaSuccess;
  const Slices<float> slices{static_cast<float*>(scratch), p.rows, p.columns, p.slices};
  const cudaError_t error = piece_shape(p) == PieceShape::kSmall
                                ? exact_pieces_with<64, 64>(p, a, b, c, slices, stream)
                                : exact_pieces_with<64, 128>(p, a, b, c, slices, stream);
  return error == cudaSuccess ? add_slices(p, c, slices, stream) : error;
}

}  // namespace jadro::cuda
