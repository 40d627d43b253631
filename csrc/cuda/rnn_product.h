// The product of a step in the persistent kernels, sums[row, output] = sum over k of source[row, k] weights[output, k]:
// a block has some rows of the batch and the weights of some hidden units, which stay in its shared memory.
//
// The eight warps share out the depth. A warp stages its part of the rows in shared memory, the next one on its way
// meanwhile, and its lanes share out rows and outputs, two lanes each the depth once more; of 16-bit floats the warp
// multiplies on tensor cores. All parts are added up in the same order whatever the tile: an element depends on its own
// row and on the depth alone.
#pragma once

#include "cuda/map.h"
#include "cuda/tensor_core.h"

namespace jadro::cuda {

constexpr int kLoopWarps = kThreads / 32, kDepthLanes = 2;

// A lane has kEachRow x kEachOutput sums.
template <int kRl, int kOl, int kEach>
struct LoopTile {
  static_assert(kRl * kOl * kDepthLanes == 32, "the lanes of a warp");
  static constexpr int kRowLanes = kRl, kOutputLanes = kOl, kEachRow = 4, kEachOutput = kEach;
  static constexpr int kRows = kEachRow * kRl, kOutputs = kEachOutput * kOl;
};

// Of 16-bit floats: fragments of 16 rows and 8 outputs.
struct TensorLoopTile {
  static constexpr int kRows = 16, kOutputs = 64;
};

template <class T, class Tile>
struct LoopShape {
  static constexpr int kPack = Pack<T>::kSize, kAround = 8 * kPack, kStep = kPack * kDepthLanes;
  static constexpr int kSlack = sizeof(T) == 2 ? kPack : kStep;    // keeps neighbouring rows in different banks
  static constexpr int kChunk = 4096 / (Tile::kRows * sizeof(T));  // depth that a warp stages at a time
  static constexpr int kStageRow = kChunk + kSlack, kStage = Tile::kRows * kStageRow, kSumRow = Tile::kRows + 1;
  static_assert(Tile::kOutputs * kSumRow * sizeof(Sum<T>) <= kStage * sizeof(T), "the sums fit where the rows stood");

  static JADRO_DEVICE i64 whole(i64 depth) { return (depth + kAround - 1) / kAround * kAround; }
  static JADRO_DEVICE i64 weight_row(i64 depth) { return whole(depth) + kSlack; }
  static std::size_t shared(i64 outputs, i64 depth) {
    return (outputs * weight_row(depth) + kLoopWarps * kStage) * sizeof(T);
  }
};

// Rows of the source, `row_size` apart; on_packs: all begin on 16 bytes.
template <class T>
struct LoopSource {
  const T* data;
  i64 row_size, depth;
  bool on_packs;

  __device__ LoopSource(const T* data, i64 row_size, i64 depth)
      : data(data),
        row_size(row_size),
        depth(depth),
        on_packs(reinterpret_cast<std::uintptr_t>(data) % sizeof(Pack<T>) == 0 && row_size % Pack<T>::kSize == 0) {}

  // 16 bytes of a row, 0 from the depth on.
  __device__ Pack<T> at(i64 row, i64 k) const {
    const T* const from = data + row * row_size + k;
    if (on_packs && k + Pack<T>::kSize <= depth) return load_shared_by_blocks(reinterpret_cast<const Pack<T>*>(from));
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) pack.v[j] = k + j < depth ? load_shared_by_blocks(from + j) : T(0);
    return pack;
  }
};

// A warp's chunk of the rows, on its way through registers.
template <class T, class Tile>
struct LoopChunk {
  using Shape = LoopShape<T, Tile>;
  static constexpr int kPacks = Shape::kChunk / Shape::kPack, kLoads = Tile::kRows * kPacks / 32;
  Pack<T> packs[kLoads];

  __device__ void fetch(const LoopSource<T>& source, i64 row0, int rows, i64 k0, i64 end) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int row = (lane + 32 * i) / kPacks;
      const i64 k = k0 + (lane + 32 * i) % kPacks * Shape::kPack;
      packs[i] = row < rows && k < end ? source.at(row0 + row, k) : Pack<T>{};
    }
  }
  __device__ void leave(T* stage) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int row = (lane + 32 * i) / kPacks, k = (lane + 32 * i) % kPacks * Shape::kPack;
      *reinterpret_cast<Pack<T>*>(stage + row * Shape::kStageRow + k) = packs[i];
    }
  }
};

// The sums of a lane: of rows in its warp's stage and of the weights of `outputs` outputs.
template <class T, class Tile>
struct LoopSums {
  using Shape = LoopShape<T, Tile>;
  static constexpr int kPack = Shape::kPack;
  int row_lane, output_lane, depth_lane;
  const T *left, *right[Tile::kEachOutput];
  T sums[Tile::kEachRow][Tile::kEachOutput] = {};

  __device__ LoopSums(const T* stage, const T* weights, i64 weight_row, int outputs, int lane)
      : row_lane(lane % Tile::kRowLanes),
        output_lane(lane / Tile::kRowLanes % Tile::kOutputLanes),
        depth_lane(lane / (Tile::kRowLanes * Tile::kOutputLanes)),
        left(stage + row_lane * Shape::kStageRow + depth_lane * kPack) {
#pragma unroll
    for (int j = 0; j < Tile::kEachOutput; ++j) {
      right[j] = weights + min(j * Tile::kOutputLanes + output_lane, outputs - 1) * weight_row + depth_lane * kPack;
    }
  }
  // Depths [k0, k0 + count), which begin the stage.
  __device__ void add(i64 k0, int count) {
#pragma unroll 2
    for (int k = 0; k < count; k += Shape::kStep) {
      Pack<T> a[Tile::kEachRow];
#pragma unroll
      for (int i = 0; i < Tile::kEachRow; ++i) {
        a[i] = *reinterpret_cast<const Pack<T>*>(left + i * Tile::kRowLanes * Shape::kStageRow + k);
      }
#pragma unroll
      for (int j = 0; j < Tile::kEachOutput; ++j) {
        const Pack<T> b = *reinterpret_cast<const Pack<T>*>(right[j] + k0 + k);
#pragma unroll
        for (int i = 0; i < Tile::kEachRow; ++i) {
#pragma unroll
          for (int v = 0; v < kPack; ++v) sums[i][j] += a[i].v[v] * b.v[v];
        }
      }
    }
  }
  // To [output][row].
  __device__ void leave(T* to) const {
#pragma unroll
    for (int j = 0; j < Tile::kEachOutput; ++j) {
#pragma unroll
      for (int i = 0; i < Tile::kEachRow; ++i) {
        const T sum = sums[i][j] + __shfl_xor_sync(~0u, sums[i][j], 32 / kDepthLanes);
        const int output = j * Tile::kOutputLanes + output_lane, row = i * Tile::kRowLanes + row_lane;
        if (depth_lane == 0) to[output * Shape::kSumRow + row] = sum;
      }
    }
  }
};

template <class T>
struct LoopSums<T, TensorLoopTile> {
  using Shape = LoopShape<T, TensorLoopTile>;
  static constexpr int kPairs = TensorLoopTile::kOutputs / 16;
  int outputs, g, w;
  const T *left, *right[kPairs];  // the row that this lane names to load_matrices
  float sums[2 * kPairs][4] = {};

  __device__ LoopSums(const T* stage, const T* weights, i64 weight_row, int outputs, int lane)
      : outputs(outputs), g(lane / 4), w(lane % 4) {
    const int part = lane / 8, row = lane % 8;
    left = stage + (part % 2 * 8 + row) * Shape::kStageRow + part / 2 * 8;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      right[j] = weights + min(j * 16 + part / 2 * 8 + row, outputs - 1) * weight_row + part % 2 * 8;
    }
  }
  __device__ void add(i64 k0, int count) {
    for (int k = 0; k < count; k += Shape::kStep) {
      u32 a[4];
      load_matrices<false>(a, left + k);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        if (j * 16 >= outputs) break;
        u32 b[4];
        load_matrices<false>(b, right[j] + k0 + k);
        tensor_product<T>(sums[2 * j], a, {b[0], b[1]});
        tensor_product<T>(sums[2 * j + 1], a, {b[2], b[3]});
      }
    }
  }
  __device__ void leave(float* to) const {
#pragma unroll
    for (int j = 0; j < 2 * kPairs; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[(j * 8 + 2 * w + i % 2) * Shape::kSumRow + i / 2 * 8 + g] = sums[j][i];
    }
  }
};

// This warp's part of the sums of a tile, left in its stage as [output][row]; rows <= kRows, outputs <= kOutputs.
template <class T, class Tile>
__device__ void multiply_rows(const LoopSource<T>& source, i64 row0, int rows, const T* weights, int outputs,
                              T* stage) {
  using Shape = LoopShape<T, Tile>;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const i64 whole = Shape::whole(source.depth);
  const i64 share = (whole / kLoopWarps + Shape::kStep - 1) / Shape::kStep * Shape::kStep, begin = warp * share;
  const i64 end = min(begin + share, whole);
  LoopSums<T, Tile> sums(stage, weights, Shape::weight_row(source.depth), outputs, lane);
  LoopChunk<T, Tile> chunk;
  if (begin < end) chunk.fetch(source, row0, rows, begin, end);
  for (i64 k0 = begin; k0 < end; k0 += Shape::kChunk) {
    chunk.leave(stage);
    __syncwarp();
    if (k0 + Shape::kChunk < end) chunk.fetch(source, row0, rows, k0 + Shape::kChunk, end);
    sums.add(k0, static_cast<int>(min(end - k0, i64{Shape::kChunk})));
    __syncwarp();
  }
  sums.leave(reinterpret_cast<Sum<T>*>(stage));
}

// The whole sum of one output and row of a tile, once all warps have left their parts.
template <class T, class Tile>
__device__ Sum<T> total(const T* stages, int output, int row) {
  using Shape = LoopShape<T, Tile>;
  Sum<T> sum = 0;
#pragma unroll
  for (int warp = 0; warp < kLoopWarps; ++warp) {
    sum += reinterpret_cast<const Sum<T>*>(stages + warp * Shape::kStage)[output * Shape::kSumRow + row];
  }
  return sum;
}

// Which units and which rows of the batch a block has; the blocks of the same rows are neighbours, and meet in `flags`,
// one for each block, 0 at the start.
struct LoopGrid {
  i64 units, unit_blocks, rows, row_blocks;
  unsigned* flags;

  i64 blocks() const { return unit_blocks * row_blocks; }
};

template <class T, class Tile>
struct LoopBlock {
  using Shape = LoopShape<T, Tile>;
  const LoopGrid& grid;
  i64 u0, row0, row1, depth;
  int units, each;  // outputs of a unit
  T *weights, *stages;
  unsigned turn = 0;

  __device__ LoopBlock(const LoopGrid& grid, i64 hidden, i64 batch, int each, i64 depth)
      : grid(grid), depth(depth), each(each) {
    u0 = blockIdx.x % grid.unit_blocks * grid.units;
    units = static_cast<int>(min(grid.units, hidden - u0));
    row0 = blockIdx.x / grid.unit_blocks * grid.rows;
    row1 = min(row0 + grid.rows, batch);
    weights = dynamic_shared<T>();
    stages = weights + grid.units * each * Shape::weight_row(depth);
  }

  // The rows g H + u of U[each*H,H] of the block's units u, the gates g of a unit side by side.
  __device__ void load_rows(const T* u, i64 H) {
    const i64 row = Shape::weight_row(depth);
    for (int output = warp(); output < units * each; output += kLoopWarps) {
      const T* const from = u + (output % each * H + u0 + output / each) * H;
#pragma unroll 8
      for (i64 k = lane(); k < row; k += 32) weights[output * row + k] = k < depth ? from[k] : T(0);
    }
    __syncthreads();
  }
  // The columns of U[depth,H] of the block's units.
  __device__ void load_columns(const T* u, i64 H) {
    const i64 row = Shape::weight_row(depth);
    for (int unit = lane(); unit < units; unit += 32) {
#pragma unroll 8
      for (i64 k = warp(); k < row; k += kLoopWarps) weights[unit * row + k] = k < depth ? u[k * H + u0 + unit] : T(0);
    }
    __syncthreads();
  }

  // For rows [row0, live) of the source: f(row, unit of the block, output and row of the tile).
  template <class F>
  __device__ void for_products(const T* data, i64 row_size, i64 live, F f) const {
    const int pass = Tile::kOutputs / each;
    const LoopSource<T> source(data, row_size, depth);
    for (i64 row = row0; row < min(live, row1); row += Tile::kRows) {
      const int rows = static_cast<int>(min(min(live, row1) - row, i64{Tile::kRows}));
      for (int unit = 0; unit < units; unit += pass) {
        const int some = min(pass, units - unit);
        multiply_rows<T, Tile>(source, row, rows, weights + unit * each * Shape::weight_row(depth), some * each,
                               stages + warp() * Shape::kStage);
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < rows * some; i += kThreads) {
          f(row + i / some, unit + i % some, i % some * each, i / some);
        }
        __syncthreads();
      }
    }
  }
  // f(row, unit of the layer) for rows [first, last) of the block.
  template <class F>
  __device__ void for_cells(i64 first, i64 last, F f) const {
    const int rows = static_cast<int>(min(last, row1) - max(first, row0));
    for (int i = static_cast<int>(threadIdx.x); i < rows * units; i += kThreads) {
      f(max(first, row0) + i / units, u0 + i % units);
    }
  }
  // What the blocks of these rows wrote before is seen by all of them after.
  __device__ void meet() {
    meet_blocks(grid.flags, static_cast<unsigned>(blockIdx.x / grid.unit_blocks * grid.unit_blocks),
                static_cast<unsigned>(grid.unit_blocks), ++turn);
  }

  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
};

}  // namespace jadro::cuda
