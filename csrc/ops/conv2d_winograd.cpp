#include "ops/conv2d_winograd.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kBlockBytes = 720 << 10;  // of a block's transformed source: it stays in the second-level cache
// Of the transformed source and dy of a chunk of tiles: as much as the sum that every chunk adds to, within bounds.
constexpr i64 kSmallChunkBytes = 2 << 20, kLargeChunkBytes = 12 << 20;
// Where sums for each task take few bytes in all, a task has chunks of its own, which stay in the second-level cache.
constexpr i64 kTaskChunkBytes = 1 << 20, kTaskSumsBytes = 8 << 20, kMostTasks = 16, kLeastTasks = 4, kTaskTiles = 64;
constexpr i64 kPanelsOfTiles = 4;  // rows of the product that share a load of the filters, in tiles of the microkernel

i64 panels(i64 channels, i64 width) { return (channels + width - 1) / width; }

template <class T>
const WinogradKernels<T>& kernels_for(const Winograd& s) {
  const Kernels<T>& k = kernels_of<T>();
  if (s.r != 3) return s.r == 5 ? k.winograd25 : k.winograd42;
  return s.m == 2 ? k.winograd23 : k.winograd43;
}

template <class T>
i64 lanes_of(i64 channels) {
  const i64 lanes = kernels_of<T>().lanes;
  return (channels + lanes - 1) / lanes * lanes;
}

// A slice of zeros, where slices of the source can lie in the padding.
template <class T>
struct PaddingSlice : Scratch<T> {
  explicit PaddingSlice(const Winograd& s) : Scratch<T>(size(s)) { std::memset(this->data(), 0, size(s) * sizeof(T)); }

 private:
  static std::size_t size(const Winograd& s) {
    const bool image = s.depths == 1 && s.src_d == s.dst_d && s.tap_d[0] == 0;
    return image || s.pass.padding_mode != PaddingMode::kZeros ? 0 : s.pass.src_h * s.pass.src_w;
  }
};

}  // namespace

template <class T>
bool winograd_product(const Winograd& shape, const T* src, const T* w, T* dst, const Conv2dEpilogue<T>& epilogue) {
  const Kernels<T>& k = kernels_of<T>();
  const WinogradKernels<T>& winograd = kernels_for<T>(shape);
  const Conv2dPass& p = shape.pass;
  const i64 out_panels = panels(p.out, k.tile_columns);
  Winograd s = shape;
  s.u_point = p.in * k.tile_columns + k.lanes;  // not a power of two: the points would share their cache sets
  const i64 group_size = out_panels * s.points() * s.u_point;
  const Scratch<T> u(p.groups * group_size);
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  parallel_for(static_cast<int>(p.groups * out_panels), threads, [&](int task, int) {
    const i64 group = task / out_panels, panel = task % out_panels;
    winograd.pack(s, w + group * p.w_group, {panel, panel + 1}, u.data() + group * group_size);
  });

  const i64 wanted = threads > 1 ? 2 * threads : 1;
  const i64 tile_bytes = s.points() * lanes_of<T>(p.in) * static_cast<i64>(sizeof(T));
  const i64 rows = std::clamp<i64>(kBlockBytes / tile_bytes / k.tile_rows, 1, kPanelsOfTiles) * k.tile_rows;
  Split tiles(s.tiles(), rows, 1), columns(out_panels, out_panels, 1);
  // Every block of tiles reads all filters of its columns: blocks of more than one panel first, then columns.
  const auto few = [&] { return p.groups * tiles.count() * columns.count() < wanted; };
  while (few() && tiles.size() > k.tile_rows && tiles.halve()) {
  }
  while (few() && columns.halve()) {
  }
  while (few() && tiles.halve()) {
  }
  const Scratch<T> scratch(winograd.scratch(s, tiles.size()), threads);
  const PaddingSlice<T> zeros(s);
  const WinogradProduct<T> product{s, src, u.data(), dst, epilogue, zeros.data()};
  const i64 tasks = tiles.count() * columns.count();
  std::atomic<bool> finite{true};
  parallel_for(static_cast<int>(p.groups * tasks), threads, [&](int task, int rank) {
    const i64 group = task / tasks, block = task % tasks;
    const Range some = columns.range(block % columns.count());
    if (!winograd.block(product, group, tiles.range(block / columns.count()), some, scratch.at(rank))) finite = false;
  });
  return finite;
}

namespace {

// What winograd_weight works with: sizes of one group's arrays, and how its tiles are cut, by the shape alone.
template <class T>
struct WeightPlan {
  i64 in_panels, in_lanes, out_lanes, tile_bytes, du_bytes, tasks;

  explicit WeightPlan(const Winograd& s) {
    const Kernels<T>& k = kernels_of<T>();
    const i64 element = static_cast<i64>(sizeof(T));
    in_panels = panels(s.pass.in, k.tile_columns), in_lanes = in_panels * k.tile_columns;
    out_lanes = lanes_of<T>(s.pass.out);
    tile_bytes = s.points() * (lanes_of<T>(s.pass.in) + out_lanes) * element;
    du_bytes = s.points() * s.pass.out * in_lanes * element;
    tasks = std::min({kMostTasks, kTaskSumsBytes / du_bytes, s.tiles() / kTaskTiles});
  }
  // Chunks of `tiles` tiles, their transforms `bytes` together.
  Split chunks(i64 tiles, i64 bytes, i64 least) const { return {tiles, std::max(bytes / tile_bytes, least), 1}; }
  i64 v_point(i64 tiles) const { return tiles * in_lanes + kernels_of<T>().lanes; }
  i64 p_point(i64 tiles) const { return tiles * out_lanes + kernels_of<T>().lanes; }
};

// dU of one group in a.du, all threads at work on one chunk: its tiles first, then its points.
template <class T>
void weight_by_points(WinogradWeight<T> a, i64 group, const WeightPlan<T>& plan, int threads) {
  const WinogradKernels<T>& winograd = kernels_for<T>(a.shape);
  const i64 points = a.shape.points(), bytes = std::clamp(plan.du_bytes, kSmallChunkBytes, kLargeChunkBytes);
  const Split chunks = plan.chunks(a.shape.tiles(), bytes, 128);
  a.v_point = plan.v_point(chunks.size()), a.p_point = plan.p_point(chunks.size());
  const Scratch<T> v(points * a.v_point), p(points * a.p_point), rows(winograd.rows, threads);
  a.v = v.data(), a.p = p.data();
  for (i64 c = 0; c < chunks.count(); ++c) {
    const Range chunk = chunks.range(c);
    const Split blocks(chunk.end - chunk.begin, kernels_of<T>().tile_rows, 1);
    parallel_for(static_cast<int>(blocks.count()), threads, [&](int task, int rank) {
      const Range r = blocks.range(task);
      winograd.weight_transform(a, group, chunk, {chunk.begin + r.begin, chunk.begin + r.end}, rows.at(rank));
    });
    parallel_for(static_cast<int>(points), threads, [&](int point, int) {
      winograd.weight_multiply(a, chunk.end - chunk.begin, c == 0, {point, point + 1});
    });
  }
}

// The same where every task sums its own tiles in its part of `sums` [tasks, points, du_point]; a.du is the first.
template <class T>
void weight_by_tiles(const WinogradWeight<T>& a, i64 group, const WeightPlan<T>& plan, int threads) {
  const WinogradKernels<T>& winograd = kernels_for<T>(a.shape);
  const i64 points = a.shape.points(), size = points * a.du_point;
  const Split tasks(a.shape.tiles(), (a.shape.tiles() + plan.tasks - 1) / plan.tasks, 1);
  const Split whole = plan.chunks(tasks.size(), kTaskChunkBytes, 1);
  const i64 v_size = points * plan.v_point(whole.size()), p_size = points * plan.p_point(whole.size());
  const Scratch<T> scratch(v_size + p_size + winograd.rows, threads);
  parallel_for(static_cast<int>(tasks.count()), threads, [&](int task, int rank) {
    WinogradWeight<T> part = a;
    part.v_point = plan.v_point(whole.size()), part.p_point = plan.p_point(whole.size());
    part.v = scratch.at(rank), part.p = part.v + v_size, part.du = a.du + task * size;
    const Range tiles = tasks.range(task);
    for (i64 tile = tiles.begin; tile < tiles.end; tile += whole.size()) {
      const Range chunk{tile, std::min(tile + whole.size(), tiles.end)};
      winograd.weight_transform(part, group, chunk, chunk, part.p + p_size);
      winograd.weight_multiply(part, chunk.end - chunk.begin, tile == tiles.begin, {0, points});
    }
  });
  parallel_for(static_cast<int>(points), threads, [&](int point, int) {
    for (i64 task = 1; task < tasks.count(); ++task) {
      T* const to = a.du + point * a.du_point;
      const T* const from = to + task * size;
      for (i64 i = 0; i < a.du_point; ++i) to[i] += from[i];
    }
  });
}

}  // namespace

template <class T>
bool winograd_weight(const Winograd& s, const T* src, const T* dy, T* dw) {
  const Conv2dPass& p = s.pass;
  const WeightPlan<T> plan(s);
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  const bool by_tiles = plan.tasks >= kLeastTasks;
  WinogradWeight<T> a{};
  const PaddingSlice<T> zeros(s);
  a.shape = s, a.src = src, a.dy = dy, a.zeros = zeros.data(), a.dw = dw;
  a.du_point = p.out * plan.in_lanes + kernels_of<T>().lanes;
  const Scratch<T> du(s.points() * a.du_point * (by_tiles ? plan.tasks : 1));
  a.du = du.data();
  std::atomic<bool> finite{true};
  for (i64 group = 0; group < p.groups; ++group) {
    by_tiles ? weight_by_tiles(a, group, plan, threads) : weight_by_points(a, group, plan, threads);
    parallel_for(static_cast<int>(p.out), threads, [&](int o, int) {
      if (!kernels_for<T>(s).weight_results(a, group, {o, o + 1})) finite = false;
    });
  }
  return finite;
}

#define JADRO_INSTANTIATE(T)                                                                            \
  template bool winograd_product<T>(const Winograd&, const T*, const T*, T*, const Conv2dEpilogue<T>&); \
  template bool winograd_weight<T>(const Winograd&, const T*, const T*, T*);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
