#include "ops/conv2d_winograd.h"

#include <algorithm>
#include <atomic>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kBlockBytes = 256 << 10;  // of a block's transformed source: it stays in the second-level cache
// Of the transformed source and dy of a chunk of tiles: as much as the sum that every chunk adds to, within bounds.
constexpr i64 kSmallChunkBytes = 2 << 20, kLargeChunkBytes = 12 << 20;
constexpr i64 kPanelsOfTiles = 4;  // rows of the product that share a load of the filters, in tiles of the microkernel

i64 panels(i64 channels, i64 width) { return (channels + width - 1) / width; }

template <class T>
const WinogradKernels<T>& kernels_for(const Winograd& s) {
  const Kernels<T>& k = kernels_of<T>();
  return s.r == 5 ? k.winograd25 : s.m == 2 ? k.winograd23 : k.winograd43;
}

template <class T>
i64 lanes_of(i64 channels) {
  const i64 lanes = kernels_of<T>().lanes;
  return (channels + lanes - 1) / lanes * lanes;
}

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
    winograd.pack(s, w + group * p.out * p.depth(), {panel, panel + 1}, u.data() + group * group_size);
  });

  const i64 wanted = threads > 1 ? 2 * threads : 1;
  const i64 tile_bytes = s.points() * lanes_of<T>(p.in) * static_cast<i64>(sizeof(T));
  const i64 rows = std::clamp<i64>(kBlockBytes / tile_bytes / k.tile_rows, 1, kPanelsOfTiles) * k.tile_rows;
  Split tiles(s.tiles(), rows, 1), columns(out_panels, out_panels, 1);
  while (p.groups * tiles.count() < wanted && tiles.halve()) {
  }
  while (p.groups * tiles.count() * columns.count() < wanted && columns.halve()) {
  }
  const Scratch<T> scratch(winograd.scratch(s, tiles.size()), threads);
  const WinogradProduct<T> product{s, src, u.data(), dst, epilogue};
  const i64 tasks = tiles.count() * columns.count();
  std::atomic<bool> finite{true};
  parallel_for(static_cast<int>(p.groups * tasks), threads, [&](int task, int rank) {
    const i64 group = task / tasks, block = task % tasks;
    const Range some = columns.range(block % columns.count());
    if (!winograd.block(product, group, tiles.range(block / columns.count()), some, scratch.at(rank))) finite = false;
  });
  return finite;
}

template <class T>
bool winograd_weight(const Winograd& s, const T* src, const T* dy, T* dw) {
  const Kernels<T>& k = kernels_of<T>();
  const WinogradKernels<T>& winograd = kernels_for<T>(s);
  const Conv2dPass& p = s.pass;
  const i64 in_panels = panels(p.in, k.tile_columns), in_lanes = in_panels * k.tile_columns;
  const i64 out_lanes = lanes_of<T>(p.out);
  const i64 tile_bytes = s.points() * (in_lanes + out_lanes) * static_cast<i64>(sizeof(T));
  const i64 du_bytes = s.points() * p.out * in_lanes * static_cast<i64>(sizeof(T));
  const i64 chunk_bytes = std::clamp(du_bytes, kSmallChunkBytes, kLargeChunkBytes);
  const Split chunks(s.tiles(), std::max<i64>(chunk_bytes / tile_bytes, 128), 1);
  const i64 size = chunks.size(), slack = k.lanes;
  WinogradWeight<T> a{};
  a.shape = s, a.src = src, a.dy = dy, a.dw = dw;
  a.v_point = size * in_lanes + slack, a.p_point = size * out_lanes + slack, a.du_point = p.out * in_lanes + slack;
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  const Scratch<T> v(s.points() * a.v_point), transformed_dy(s.points() * a.p_point), du(s.points() * a.du_point);
  const Scratch<T> rows(winograd.rows, threads);
  a.v = v.data(), a.p = transformed_dy.data(), a.du = du.data();
  std::atomic<bool> finite{true};
  for (i64 group = 0; group < p.groups; ++group) {
    for (i64 c = 0; c < chunks.count(); ++c) {
      const Range chunk = chunks.range(c);
      const Split blocks(chunk.end - chunk.begin, k.tile_rows, 1);
      parallel_for(static_cast<int>(blocks.count()), threads, [&](int task, int rank) {
        const Range r = blocks.range(task);
        winograd.weight_transform(a, group, chunk, {chunk.begin + r.begin, chunk.begin + r.end}, rows.at(rank));
      });
      parallel_for(static_cast<int>(s.points()), threads, [&](int point, int) {
        winograd.weight_multiply(a, chunk.end - chunk.begin, c == 0, {point, point + 1}, {0, in_panels});
      });
    }
    parallel_for(static_cast<int>(p.out), threads, [&](int o, int) {
      if (!winograd.weight_results(a, group, {o, o + 1})) finite = false;
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
