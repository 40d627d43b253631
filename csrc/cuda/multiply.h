// The one tile of every matrix product: C[row, column] = sum over k of A[row, k] B[k, column], where the operands say
// themselves where their elements stand.
//
// An operand has place(index), where a row of A or a column of B begins; step(k), how far k is from there; and
// at(place, step), the element, 0 outside. along_depth: neighbours in memory are neighbours in k, not in the index. A
// result has place(column) and put(place, row, value). select(batch) moves each to one of several equal products.
//
// A block of 256 threads makes a tile of kTile x kTile, each thread (kTile / 16)^2 of it in registers. Slices of A and
// B, kDepth deep, go through two buffers in shared memory: the next one is fetched while this one is multiplied. An
// element is summed in the order of k, whatever the tile; where a product has few tiles and is deep, it is cut into
// slices of k by its shape alone, and a second kernel adds them up in their order.
#pragma once

#include <utility>

#include "cuda/launch.h"
#include "cuda/map.h"
#include "cuda/tensor_core.h"

namespace jadro::cuda {

struct Product {
  i64 rows, columns, depth, batches, slices;

  i64 slice_depth() const { return ceil_div(ceil_div(depth, slices), 8) * 8; }
};

// The product cut into slices, where `split` allows it.
inline Product product_of(i64 rows, i64 columns, i64 depth, i64 batches, bool split) {
  constexpr i64 kTile = 64, kLeast = 256;  // depth of a slice that is worth a block
  const i64 tiles = batches * ceil_div(rows, kTile) * ceil_div(columns, kTile);
  const i64 wanted = tiles > 0 ? kFullGrid / tiles : 1, most = depth / kLeast;
  const i64 slices = wanted < most ? wanted : most;
  return {rows, columns, depth, batches, split && slices > 1 ? slices : 1};
}

// Bytes of scratch memory of a product.
template <class T>
i64 product_scratch(const Product& p) {
  return p.slices == 1 ? 0 : p.slices * p.batches * p.rows * p.columns * static_cast<i64>(sizeof(Sum<T>));
}

// The partial results of slices: [batch,slice,row,column].
template <class T>
struct Slices {
  T* sums;
  i64 rows, columns, slices;

  JADRO_DEVICE T* of(i64 batch, i64 slice) const { return sums + (batch * slices + slice) * rows * columns; }
};

// The tile and the slice of a block; row tiles are neighbours, for they share the columns of B.
struct TilePlace {
  i64 row, column, slice, batch, begin, end;

  __device__ TilePlace(const Product& p, i64 slice_depth, int tile_rows, int tile_columns) {
    const i64 row_tiles = (p.rows + tile_rows - 1) / tile_rows;
    const i64 column_tiles = (p.columns + tile_columns - 1) / tile_columns;
    i64 rest = blockIdx.x;
    row = rest % row_tiles * tile_rows;
    rest /= row_tiles;
    column = rest % column_tiles * tile_columns;
    rest /= column_tiles;
    slice = rest % p.slices;
    batch = rest / p.slices;
    begin = slice * slice_depth;
    end = min(begin + slice_depth, p.depth);
  }
};

// One slice as a result.
template <class T>
struct SliceResult {
  T* sums;
  i64 columns;

  __device__ i64 place(i64 column) const { return column; }
  __device__ void put(i64 place, i64 row, T value) const { sums[row * columns + place] = value; }
};

constexpr int kSide = 16;    // threads along each side of a tile
constexpr int kDepth = 8;    // of a buffer
constexpr int kQuad = 4;     // neighbouring rows, or columns, of a thread
constexpr int kAcross = 32;  // distance of the elements that a thread fetches

// What a thread fetches of an operand, kLoads elements of one k, and where it leaves them.
template <class T, int kTile, class Operand>
struct Fetcher {
  static constexpr int kLoads = kTile * kDepth / kThreads, kRow = kTile + kQuad;
  static_assert(kLoads * kAcross == kTile, "a fetch covers the tile");
  using Place = decltype(std::declval<Operand>().place(0));

  const Operand& operand;
  int k, first;
  Place places[kLoads];
  T values[kLoads];

  __device__ Fetcher(const Operand& operand, i64 origin) : operand(operand) {
    const int t = static_cast<int>(threadIdx.x);
    k = operand.along_depth ? t % kDepth : t / kAcross;
    first = operand.along_depth ? t / kDepth : t % kAcross;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) places[i] = operand.place(origin + first + i * kAcross);
  }
  __device__ void fetch(i64 k0, i64 end) {
    const auto step = operand.step(k0 + k < end ? k0 + k : -1);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) values[i] = operand.at(places[i], step);
  }
  __device__ void leave(T* buffer) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) buffer[k * kRow + first + i * kAcross] = values[i];
  }
};

// The thread's rows, or columns, of a tile: quads 64 apart.
__device__ inline int place_in_tile(int side, int i) { return (i / kQuad * kSide + side) * kQuad + i % kQuad; }

template <class T, int kEach>
__device__ void load_quads(const T* buffer, int side, T* values) {
  constexpr int kPack = Pack<T>::kSize;
#pragma unroll
  for (int i = 0; i < kEach; i += kPack) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(buffer + place_in_tile(side, i));
#pragma unroll
    for (int j = 0; j < kPack; ++j) values[i + j] = pack.v[j];
  }
}

// sums += the tile of A and B at (row, column) for k in [begin, end)
template <class T, int kTile, class A, class B>
__device__ void multiply_tile(const A& a, const B& b, i64 row, i64 column, i64 begin, i64 end, T* shared,
                              T (&sums)[kTile / kSide][kTile / kSide]) {
  constexpr int kEach = kTile / kSide, kRow = kTile + kQuad, kBuffer = kDepth * kRow;
  const int down = static_cast<int>(threadIdx.x) / kSide, across = static_cast<int>(threadIdx.x) % kSide;
  Fetcher<T, kTile, A> from_a(a, row);
  Fetcher<T, kTile, B> from_b(b, column);
  from_a.fetch(begin, end);
  from_b.fetch(begin, end);
  for (i64 k0 = begin; k0 < end; k0 += kDepth) {
    T* const buffer = shared + (k0 - begin) / kDepth % 2 * 2 * kBuffer;
    from_a.leave(buffer);
    from_b.leave(buffer + kBuffer);
    __syncthreads();
    if (k0 + kDepth < end) {
      from_a.fetch(k0 + kDepth, end);
      from_b.fetch(k0 + kDepth, end);
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      T left[kEach], right[kEach];
      load_quads<T, kEach>(buffer + k * kRow, down, left);
      load_quads<T, kEach>(buffer + kBuffer + k * kRow, across, right);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += left[i] * right[j];
      }
    }
  }
}

// kRun: of neighbouring columns at once, by put_run.
template <class T, int kRows, int kColumns, int kRun = 1, class Result>
__device__ void store_tile(const Product& p, const Result& c, i64 row, i64 column,
                           const T (&sums)[kRows / kSide][kColumns / kSide]) {
  const int down = static_cast<int>(threadIdx.x) / kSide, across = static_cast<int>(threadIdx.x) % kSide;
#pragma unroll
  for (int j = 0; j < kColumns / kSide; j += kRun) {
    const i64 to = column + place_in_tile(across, j);
    if (to >= p.columns) continue;
    const auto place = c.place(to);
#pragma unroll
    for (int i = 0; i < kRows / kSide; ++i) {
      const i64 at = row + place_in_tile(down, i);
      if (at >= p.rows) continue;
      if constexpr (kRun > 1) {
        c.put_run(place, at, &sums[i][j]);
      } else {
        c.put(place, at, sums[i][j]);
      }
    }
  }
}

// A block makes one tile of one slice of one batch.
template <class T, int kTile, class A, class B, class C>
__global__ void __launch_bounds__(kThreads, 2)
    multiply_kernel(Product p, i64 slice_depth, A a, B b, C c, Slices<T> slices) {
  const TilePlace at(p, slice_depth, kTile, kTile);
  a.select(at.batch);
  b.select(at.batch);
  T sums[kTile / kSide][kTile / kSide] = {};
  multiply_tile<T, kTile>(a, b, at.row, at.column, at.begin, at.end, dynamic_shared<T>(), sums);
  if (p.slices > 1) {
    store_tile<T, kTile, kTile>(p, SliceResult<T>{slices.of(at.batch, at.slice), p.columns}, at.row, at.column, sums);
  } else {
    c.select(at.batch);
    store_tile<T, kTile, kTile>(p, c, at.row, at.column, sums);
  }
}

template <class T, class C>
__global__ void add_slices_kernel(Product p, C c, Slices<T> slices) {
  const i64 size = p.batches * p.rows * p.columns, step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    const i64 batch = i / (p.rows * p.columns), at = i % (p.rows * p.columns);
    T sum = 0;
    for (i64 slice = 0; slice < p.slices; ++slice) sum += slices.of(batch, slice)[at];
    C result = c;
    result.select(batch);
    result.put(result.place(at % p.columns), at / p.columns, sum);
  }
}

inline i64 tiles_of(const Product& p, int rows, int columns) {
  return ceil_div(p.rows, rows) * ceil_div(p.columns, columns) * p.slices * p.batches;
}

template <class T, int kTile, class A, class B, class C>
cudaError_t multiply_with(const Product& p, const A& a, const B& b, const C& c, const Slices<T>& slices,
                          cudaStream_t stream) {
  if (tiles_of(p, kTile, kTile) > INT32_MAX) return cudaErrorInvalidValue;
  constexpr std::size_t kShared = 4 * kDepth * (kTile + kQuad) * sizeof(T);
  return launch(multiply_kernel<T, kTile, A, B, C>, dim3(static_cast<unsigned>(tiles_of(p, kTile, kTile))),
                dim3(kThreads), kShared, stream, p, p.slice_depth(), a, b, c, slices);
}

// The large tile does twice the arithmetic for what it fetches; it needs enough rows, and tiles for the whole card.
inline bool wants_large_tile(const Product& p, int tile) {
  return p.rows > 64 && p.columns > 64 && tiles_of(p, tile, tile) >= kFullGrid / 4;
}

template <class T, class C>
cudaError_t add_slices(const Product& p, const C& c, const Slices<T>& slices, cudaStream_t stream) {
  if (p.slices == 1) return cudaSuccess;
  return launch(add_slices_kernel<T, C>, dim3(blocks_for(p.batches * p.rows * p.columns)), dim3(kThreads), 0, stream, p,
                c, slices);
}

// In the arithmetic of T itself, float or double.
template <class T, class A, class B, class C>
cudaError_t multiply_exactly(const Product& p, const A& a, const B& b, const C& c, void* scratch, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0 || p.batches == 0) return cudaSuccess;
  const Slices<T> slices{static_cast<T*>(scratch), p.rows, p.columns, p.slices};
  constexpr int kLarge = sizeof(T) == 4 ? 128 : 64;
  const cudaError_t error = wants_large_tile(p, kLarge) ? multiply_with<T, kLarge>(p, a, b, c, slices, stream)
                                                        : multiply_with<T, 64>(p, a, b, c, slices, stream);
  return error == cudaSuccess ? add_slices(p, c, slices, stream) : error;
}

}  // namespace jadro::cuda
