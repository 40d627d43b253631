// How the persistent kernels share out a layer's units and rows, and which tile they take.
#pragma once

#include <tuple>
#include <utility>

#include "cuda/rnn_product.h"

namespace jadro::cuda {
namespace {

// rows x outputs: 4 x 32, 8 x 16, 8 x 32, 16 x 32, 32 x 8, and 16 x 64 of 16-bit floats
using LoopTiles = std::tuple<LoopTile<1, 16, 2>, LoopTile<2, 8, 2>, LoopTile<2, 8, 4>, LoopTile<4, 4, 8>,
                             LoopTile<8, 2, 4>, TensorLoopTile>;
constexpr std::size_t kLoopTiles = std::tuple_size_v<LoopTiles>;

// Of double and of 16-bit floats one alone.
template <class T>
constexpr bool has_tile(std::size_t tile) {
  if (sizeof(T) == 2) return tile == 5;
  return sizeof(T) == 4 ? tile < 5 : tile == 3;
}

struct LoopPlan {
  LoopGrid grid;
  std::size_t tile, shared;
  double cost;

  bool fits() const { return shared > 0; }
};

// The card, as far as a plan depends on it.
struct LoopCard {
  i64 processors = 1;
  std::size_t shared = 0;

  LoopCard() {
    int device = 0, count = 0, most = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    processors = count > 0 ? count : 1;
    shared = static_cast<std::size_t>(most);
  }
};

// Cycles in which eight warps multiply a step of the depth: their arithmetic, or their reads of shared memory.
template <class T, class Tile>
constexpr i64 step_cycles(i64 outputs) {
  if constexpr (sizeof(T) == 2) {
    return kLoopWarps * (4 + 4 * ceil_div(outputs, 16));  // wavefronts of load_matrices
  } else {
    constexpr auto wavefronts = [](int lanes) { return ceil_div(lanes * kDepthLanes, 8); };
    constexpr i64 kProducts = Tile::kEachRow * Tile::kEachOutput * kLoopWarps * sizeof(T) / 4;
    constexpr i64 kReads = kLoopWarps * (Tile::kEachRow * wavefronts(Tile::kRowLanes) +
                                         Tile::kEachOutput * wavefronts(Tile::kOutputLanes));
    return kProducts > kReads ? kProducts : kReads;
  }
}

// Cycles of a step, roughly: for each pass over a tile its products, or the rows from the second-level cache, and what
// a pass waits in any case.
template <class T, class Tile>
double loop_cost(const LoopGrid& grid, i64 each, i64 depth) {
  constexpr double kBytesPerCycle = 40, kWaiting = 1200;
  const i64 outputs = grid.units * each < Tile::kOutputs ? grid.units * each : Tile::kOutputs;
  const double steps = static_cast<double>(depth) / kLoopWarps / LoopShape<T, Tile>::kStep;
  const double arithmetic = steps * static_cast<double>(step_cycles<T, Tile>(outputs));
  const i64 rows = grid.rows < Tile::kRows ? grid.rows : Tile::kRows;
  const double loads = static_cast<double>(rows * depth * sizeof(T)) / kBytesPerCycle;
  const i64 passes = ceil_div(grid.rows, Tile::kRows) * ceil_div(grid.units, Tile::kOutputs / each);
  return static_cast<double>(passes) * (kWaiting + (arithmetic > loads ? arithmetic : loads));
}

template <class T, std::size_t kTile>
void plan_tile(const LoopCard& card, i64 hidden, i64 batch, i64 each, i64 depth, LoopPlan* best) {
  using Tile = std::tuple_element_t<kTile, LoopTiles>;
  if constexpr (has_tile<T>(kTile)) {
    for (i64 parts = 1; parts <= card.processors && parts <= batch; parts *= 2) {
      LoopGrid grid{};
      grid.rows = ceil_div(batch, parts);
      grid.row_blocks = ceil_div(batch, grid.rows);
      grid.units = ceil_div(hidden, card.processors / grid.row_blocks);
      grid.unit_blocks = ceil_div(hidden, grid.units);
      const std::size_t shared = LoopShape<T, Tile>::shared(grid.units * each, depth);
      const double cost = loop_cost<T, Tile>(grid, each, depth);
      if (shared > card.shared || (best->fits() && best->cost <= cost)) continue;
      *best = {grid, kTile, shared, cost};
    }
  }
}

template <class T, std::size_t... kTiles>
void plan_tiles(const LoopCard& card, i64 hidden, i64 batch, i64 each, i64 depth, LoopPlan* best,
                std::index_sequence<kTiles...>) {
  (plan_tile<T, kTiles>(card, hidden, batch, each, depth, best), ...);
}

// The cheapest plan for `each` outputs of a unit, sums over `depth`; its shared memory is 0 where none fits.
template <class T>
LoopPlan plan_loop(i64 hidden, i64 batch, i64 each, i64 depth) {
  const LoopCard card;
  LoopPlan best{};
  batch = batch > 0 ? batch : 1;
  plan_tiles<T>(card, hidden, batch, each, depth, &best, std::make_index_sequence<kLoopTiles>{});
  return best;
}

// f(tile) of the plan's tile.
template <class T, std::size_t kTile = 0, class F>
cudaError_t with_tile(std::size_t tile, F f) {
  if constexpr (kTile == kLoopTiles) {
    return cudaErrorInvalidValue;
  } else {
    if constexpr (has_tile<T>(kTile)) {
      if (tile == kTile) return f(std::tuple_element_t<kTile, LoopTiles>{});
    }
    return with_tile<T, kTile + 1>(tile, f);
  }
}

}  // namespace
}  // namespace jadro::cuda
