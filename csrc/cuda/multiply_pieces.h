// The tile on tensor cores, of 16-bit floats and, where that is asked for, of float32 as TF32; sums are float32.
// Operands lie in memory in pieces of 16 bytes.
//
// Such an operand has place(index) and step(k, end), and piece(place, step), which is where 16 bytes of it lie and how
// many of them count. deep: a piece runs along the depth, and a slice stands in shared memory by rows of A, or columns
// of B; else a piece runs along the rows, or columns, and a slice stands by depths. Either way a row of shared memory
// has slack, so that what a warp reads at once lies in different banks.
//
// Slices go through kStages buffers, copied behind the threads' backs: while one is multiplied, the next ones are on
// their way. Eight warps, two by four, share the tile out. Results pass through shared memory, so that neighbouring
// threads write neighbouring columns.
#pragma once

#include <atomic>

#include "cuda/multiply.h"

namespace jadro::cuda {

// Whether products of float32 may round their operands to TF32, 10 bits of the mantissa.
inline std::atomic<bool> tf32_allowed{false};

template <class T>
bool uses_tensor_cores() {
  if constexpr (std::is_same_v<T, float>) return tf32_allowed;
  return sizeof(T) == 2;
}

constexpr int kStages = 4, kWordDepth = 16;  // buffers; words of the depth in each

template <class T>
constexpr int kTensorDepth = kWordDepth * 4 / static_cast<int>(sizeof(T));

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

template <class T>
constexpr int kPieceSize = 16 / static_cast<int>(sizeof(T));

template <class T>
struct Piece {
  const T* from;
  int bytes;
};
template <class T>
__device__ void copy_piece(T* shared, const Piece<T>& piece) {
  copy_async<16>(shared, piece.from, piece.bytes);
}

// A slice of kTile rows, or columns, in shared memory, and how the block shares its pieces out.
template <class T, bool kDeep, int kTile>
struct PieceTile {
  static constexpr int kRows = kDeep ? kTile : kTensorDepth<T>, kUsed = kDeep ? kTensorDepth<T> : kTile;
  static constexpr int kRow = kUsed + (kDeep ? kPieceSize<T> : 8), kSize = kRows * kRow;
  static constexpr int kPieces = kUsed / kPieceSize<T>, kApart = kThreads / kPieces, kCount = kRows / kApart;
  static_assert(kCount * kApart == kRows, "the threads cover the rows");
};

template <class T, int kTile, class Operand>
struct PieceFetcher {
  using Tile = PieceTile<T, Operand::deep, kTile>;
  static constexpr int kPlaces = Operand::deep ? Tile::kCount : 1;
  using Place = decltype(std::declval<Operand>().place(0));

  const Operand& operand;
  int element, first;  // the thread's piece of a row begins here; its first row
  Place places[kPlaces];

  __device__ PieceFetcher(const Operand& operand, i64 origin) : operand(operand) {
    element = static_cast<int>(threadIdx.x) % Tile::kPieces * kPieceSize<T>;
    first = static_cast<int>(threadIdx.x) / Tile::kPieces;
#pragma unroll
    for (int i = 0; i < kPlaces; ++i) {
      places[i] = operand.place(origin + (Operand::deep ? first + i * Tile::kApart : element));
    }
  }
  // put(i, piece) of the thread's row i of the slice.
  template <class Put>
  __device__ void each(i64 k0, i64 end, Put put) const {
    if constexpr (Operand::deep) {
      const auto step = operand.step(k0 + element, end);
#pragma unroll
      for (int i = 0; i < Tile::kCount; ++i) put(i, operand.piece(places[i], step));
    } else {
#pragma unroll
      for (int i = 0; i < Tile::kCount; ++i) {
        put(i, operand.piece(places[0], operand.step(k0 + first + i * Tile::kApart, end)));
      }
    }
  }
  __device__ void fetch(i64 k0, i64 end, T* buffer) const {
    T* const to = buffer + first * Tile::kRow + element;
    each(k0, end, [&](int i, const auto& piece) { copy_piece(to + i * Tile::kApart * Tile::kRow, piece); });
  }
};

// The words (0, 0), (8, 0), (0, 4), (8, 4) of (row, word of the depth) from (index, word) on, as A's fragment has them,
// or, of 16 columns of B, in the order (0, 0), (0, 4), (8, 0), (8, 4).
template <class T, bool kDeep, int kTile, bool kLeft>
__device__ void load_fragment(const T* slice, int index, int word, u32 (&words)[4]) {
  using Tile = PieceTile<T, kDeep, kTile>;
  const int lane = static_cast<int>(threadIdx.x) % 32, part = lane / 8;
  const auto row_of = [](int i) { return (kLeft ? i % 2 : i / 2) * 8; };
  const auto word_of = [](int i) { return (kLeft ? i / 2 : i % 2) * 4; };
  constexpr int kEach = 4 / static_cast<int>(sizeof(T));
  if constexpr (kDeep) {
    load_matrices<false>(words,
                         slice + (index + row_of(part) + lane % 8) * Tile::kRow + (word + word_of(part)) * kEach);
  } else if constexpr (sizeof(T) == 2) {
    load_matrices<true>(words, slice + ((word + word_of(part)) * kEach + lane % 8) * Tile::kRow + index + row_of(part));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = word_at(slice + (word + word_of(i) + lane % 4) * Tile::kRow + index + row_of(i) + lane / 4);
    }
  }
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (u32& v : words) v = round_tf32(v);
  }
}

// sums += the warp's part of the product of two slices.
template <class T, int kRows, int kColumns, bool kDeepA, bool kDeepB>
__device__ void multiply_pieces_of(
    const T* a, const T* b, const WarpTile<kRows, kColumns>& warp,
    float (&sums)[WarpTile<kRows, kColumns>::kDown][WarpTile<kRows, kColumns>::kAlong][4]) {
  constexpr int kDown = WarpTile<kRows, kColumns>::kDown, kAlong = WarpTile<kRows, kColumns>::kAlong;
#pragma unroll
  for (int k = 0; k < kWordDepth; k += 8) {
    u32 right[kAlong / 2][4];
#pragma unroll
    for (int j = 0; j < kAlong / 2; ++j) {
      load_fragment<T, kDeepB, kColumns, false>(b, warp.column + j * 16, k, right[j]);
    }
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      u32 left[4];
      load_fragment<T, kDeepA, kRows, true>(a, warp.row + i * 16, k, left);
#pragma unroll
      for (int j = 0; j < kAlong; ++j) {
        const u32 column[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
        tensor_product<T>(sums[i][j], left, column);
      }
    }
  }
}

// How many neighbouring columns a result takes at once, by put_run, where its has_runs says so.
template <class Result>
constexpr int run_of = 1;

template <int kColumns>
constexpr int kStagedRow = kColumns + 8;

template <int kRows, int kColumns, int kRun, class Result>
__device__ void put_staged(const Product& p, const Result& c, const TilePlace& at, const float* staged) {
  constexpr int kAcross = kColumns / kRun, kApart = kThreads / kAcross;
  const int t = static_cast<int>(threadIdx.x), column = t % kAcross * kRun;
  if (at.column + column >= p.columns) return;
  const auto place = c.place(at.column + column);
  const int rows = static_cast<int>(min(p.rows - at.row, static_cast<i64>(kRows)));
  for (int row = t / kAcross; row < rows; row += kApart) {
    const float* const from = staged + row * kStagedRow<kColumns> + column;
    if constexpr (kRun > 1) {
      c.put_run(place, at.row + row, from);
    } else {
      c.put(place, at.row + row, *from);
    }
  }
}

template <int kRows, int kColumns, class Result>
__device__ void store_staged(
    const Product& p, const Result& c, const TilePlace& at, const WarpTile<kRows, kColumns>& warp, float* staged,
    const float (&sums)[WarpTile<kRows, kColumns>::kDown][WarpTile<kRows, kColumns>::kAlong][4]) {
#pragma unroll
  for (int i = 0; i < WarpTile<kRows, kColumns>::kDown; ++i) {
#pragma unroll
    for (int j = 0; j < WarpTile<kRows, kColumns>::kAlong; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float* const to =
            staged + (warp.row + i * 16 + half * 8 + warp.g) * kStagedRow<kColumns> + warp.column + j * 8 + 2 * warp.w;
        to[0] = sums[i][j][2 * half];
        to[1] = sums[i][j][2 * half + 1];
      }
    }
  }
  __syncthreads();
  if constexpr (run_of<Result> > 1) {
    if (c.has_runs) return put_staged<kRows, kColumns, run_of<Result>>(p, c, at, staged);
  }
  put_staged<kRows, kColumns, 1>(p, c, at, staged);
}

template <class T, int kRows, int kColumns, class A, class B, class C>
__global__ void __launch_bounds__(kThreads, 2)
    piece_kernel(Product p, i64 slice_depth, A a, B b, C c, Slices<float> slices) {
  constexpr int kSizeA = PieceTile<T, A::deep, kRows>::kSize;
  constexpr int kStage = kSizeA + PieceTile<T, B::deep, kColumns>::kSize;
  const TilePlace at(p, slice_depth, kRows, kColumns);
  const WarpTile<kRows, kColumns> warp;
  a.select(at.batch);
  b.select(at.batch);
  T* const shared = dynamic_shared<T>();
  const PieceFetcher<T, kRows, A> from_a(a, at.row);
  const PieceFetcher<T, kColumns, B> from_b(b, at.column);
  float sums[WarpTile<kRows, kColumns>::kDown][WarpTile<kRows, kColumns>::kAlong][4] = {};
  const auto fetch = [&](i64 k, int stage) {
    if (k < at.end) {
      from_a.fetch(k, at.end, shared + stage * kStage);
      from_b.fetch(k, at.end, shared + stage * kStage + kSizeA);
    }
    commit_copies();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) fetch(at.begin + stage * kTensorDepth<T>, stage);
  int stage = 0;
  for (i64 k = at.begin; k < at.end; k += kTensorDepth<T>) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // this slice is there, and nobody reads the one before any more
    fetch(k + (kStages - 1) * kTensorDepth<T>, (stage + kStages - 1) % kStages);
    const T* const slice = shared + stage * kStage;
    multiply_pieces_of<T, kRows, kColumns, A::deep, B::deep>(slice, slice + kSizeA, warp, sums);
    stage = (stage + 1) % kStages;
  }
  wait_for_copies<0>();
  __syncthreads();
  float* const staged = dynamic_shared<float>();
  if (p.slices > 1) {
    store_staged(p, SliceResult<float>{slices.of(at.batch, at.slice), p.columns}, at, warp, staged, sums);
  } else {
    c.select(at.batch);
    store_staged(p, c, at, warp, staged, sums);
  }
}

template <class T, int kRows, int kColumns, class A, class B, class C>
cudaError_t pieces_with(const Product& p, const A& a, const B& b, const C& c, const Slices<float>& slices,
                        cudaStream_t stream) {
  if (tiles_of(p, kRows, kColumns) > INT32_MAX) return cudaErrorInvalidValue;
  constexpr std::size_t kStage = PieceTile<T, A::deep, kRows>::kSize + PieceTile<T, B::deep, kColumns>::kSize;
  constexpr std::size_t kCopied = kStages * kStage * sizeof(T), kStaged = kRows * kStagedRow<kColumns> * sizeof(float);
  return launch(piece_kernel<T, kRows, kColumns, A, B, C>, dim3(static_cast<unsigned>(tiles_of(p, kRows, kColumns))),
                dim3(kThreads), kCopied > kStaged ? kCopied : kStaged, stream, p, p.slice_depth(), a, b, c, slices);
}

// What a tile costs in all: the blocks of the busiest multiprocessor of a large card, each by its area, and by how much
// a small tile fetches for its arithmetic.
inline i64 tile_cost(const Product& p, int rows, int columns, i64 percent) {
  return ceil_div(tiles_of(p, rows, columns), kFullGrid / 4) * rows * columns * percent;
}

enum class PieceShape { kLarge, kWide, kSmall };  // 128x128, 64x128, 64x64

inline PieceShape piece_shape(const Product& p) {
  const i64 large = tile_cost(p, 128, 128, 100), wide = tile_cost(p, 64, 128, 110), small = tile_cost(p, 64, 64, 125);
  if (large <= wide && large <= small) return PieceShape::kLarge;
  return wide <= small ? PieceShape::kWide : PieceShape::kSmall;
}

template <class T, class A, class B, class C>
cudaError_t multiply_pieces_on_tensor_cores(const Product& p, const A& a, const B& b, const C& c, void* scratch,
                                            cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0 || p.batches == 0) return cudaSuccess;
  const Slices<float> slices{static_cast<float*>(scratch), p.rows, p.columns, p.slices};
  const PieceShape shape = piece_shape(p);
  const cudaError_t error = shape == PieceShape::kLarge  ? pieces_with<T, 128, 128>(p, a, b, c, slices, stream)
                            : shape == PieceShape::kWide ? pieces_with<T, 64, 128>(p, a, b, c, slices, stream)
                                                         : pieces_with<T, 64, 64>(p, a, b, c, slices, stream);
  return error == cudaSuccess ? add_slices(p, c, slices, stream) : error;
}

}  // namespace jadro::cuda
