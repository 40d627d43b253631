// Convolution on the engine. im2col packs the columns of a block from its planes, panel by panel, so no matrix of the
// whole image exists; direct lets the microkernel read the planes in place, row by row, which pays where few channels
// share a column.
#pragma once

#include "kernels/conv2d_planes.h"

namespace jadro {
namespace {

// One group's w [out, depth] in passes over the depth, each in panels of rows.
template <class T>
void conv2d_pack(const Conv2dPass& p, const T* w, T* packed) {
  const RowPanels rows(p.out);
  const i64 depth = p.depth(), step = conv2d_pass_channels(p) * p.taps;
  for (i64 k0 = 0; k0 < depth; k0 += step) {
    const i64 kc = min(step, depth - k0);
    for (i64 r = 0; r < rows.count; ++r) {
      pack_a(w + rows.start(r) * depth + k0, depth, 1, rows.size(r), kc, packed + k0 * p.out + rows.start(r) * kc);
    }
  }
}

// Scratch of one block: the offset of every (channel, tap) of a pass, the planes, the packed operands.
template <class T>
struct Conv2dScratch {
  static constexpr i64 kSlack = kLanes<T> * kNr<T>;  // whole vectors are read and written past the end

  i64 offsets, planes, columns;  // elements of T
  Conv2dScratch(i64 depth, i64 planes_size, i64 columns_size)
      : offsets(round_up(depth * static_cast<i64>(sizeof(i64) / sizeof(T)))),
        planes(round_up(planes_size + kSlack)),
        columns(round_up(columns_size + kSlack)) {}
  i64 total() const { return offsets + planes + columns; }
  i64* offsets_in(T* scratch) const { return reinterpret_cast<i64*>(scratch); }
  T* planes_in(T* scratch) const { return scratch + offsets; }
  T* columns_in(T* scratch) const { return scratch + offsets + planes; }

 private:
  static i64 round_up(i64 n) { return ceil_div(n, 64) * 64; }
};

template <class T>
Conv2dScratch<T> product_scratch(const Conv2dPass& p, i64 cells) {
  const i64 channels = conv2d_pass_channels(p), depth = channels * p.taps;
  return {depth, conv2d_planes_bound(p, channels, cells), depth * ceil_div(cells, kNr<T>) * kNr<T>};
}
template <class T>
i64 conv2d_scratch(const Conv2dPass& p, i64 cells) {
  return product_scratch<T>(p, cells).total();
}

// Finished tiles: adds what earlier passes left; the last pass applies the epilogue.
template <class T>
struct Conv2dStore {
  const Conv2dProduct<T>& a;
  i64 group;
  bool first, last;

  // Asks for the cache lines of a tile before the product that fills it.
  JADRO_INLINE void touch(i64 m, i64 rows, const Run& run) const {
    const Conv2dPass& p = a.pass;
    const i64 plane = p.dst_plane(), bytes = run.count * p.dst_step_w * static_cast<i64>(sizeof(T));
    const T* dst = a.dst + (run.n * p.groups * p.out + group * p.out + m) * plane + run.pixel;
    for (i64 r = 0; r < rows; ++r, dst += plane) {
      for (i64 line = 0; line < bytes; line += 64) __builtin_prefetch(reinterpret_cast<const char*>(dst) + line, 1);
    }
  }

  JADRO_INLINE void operator()(const T* tile, i64 m, i64 rows, const Run& run) const {
    const Conv2dPass& p = a.pass;
    const Conv2dEpilogue<T>& e = a.epilogue;
    const i64 plane = p.dst_plane();
    const i64 channel = group * p.out + m, start = (run.n * p.groups * p.out + channel) * plane + run.pixel;
    T* dst = a.dst + start;
    const T* add = e.add && last ? e.add + start : nullptr;
    for (i64 r = 0; r < rows; ++r, dst += plane, tile += kNr<T>) {
      const T bias = e.bias && last ? e.bias[channel + r] : T(0), scale = e.scale && last ? e.scale[channel + r] : T(1);
      if (p.dst_step_w == 1) {
        for_vectors<T>(run.count, [&](i64 i, i64 count) {
          Vec<T> v = load_n(tile + i, count);
          if (!first) v += load_n(dst + i, count);
          v = v * scale + bias;
          if (add) v += load_n(add + r * plane + i, count);
          if (e.relu && last) v = v < T(0) ? Vec<T>{} : v;
          store_n(dst + i, v, count);
        });
      } else if (!last || !(e.bias || e.scale || e.add || e.relu)) {
        for (i64 i = 0; i < run.count; ++i) {
          T& y = dst[i * p.dst_step_w];
          y = tile[i] + (first ? T(0) : y);
        }
      } else {
        for (i64 i = 0, to = 0; i < run.count; ++i, to += p.dst_step_w) {
          T y = tile[i] + (first ? T(0) : dst[to]);
          y = y * scale + bias;
          if (add) y += add[r * plane + to];
          dst[to] = e.relu && y < T(0) ? T(0) : y;
        }
      }
    }
  }
};

// Columns [cells] of one pass as panels [k][kNr], from the planes. Whole vectors are copied, each over the overhang of
// the one before.
template <class T>
void pack_columns(const Run* runs, i64 count, const T* planes, const i64* offsets, i64 k, T* packed) {
  for (i64 begin = 0; begin < count;) {
    const i64 panel = runs[begin].first / kNr<T>;
    i64 end = begin;
    while (end < count && runs[end].first / kNr<T> == panel) ++end;
    T* dst = packed + panel * k * kNr<T>;
    for (i64 p = 0; p < k; ++p, dst += kNr<T>) {
      const T* source = planes + offsets[p];
      for (i64 r = begin; r < end; ++r) {
        T* to = dst + runs[r].first % kNr<T>;
        const T* from = source + runs[r].base;
        for (i64 i = 0; i < runs[r].count; i += kLanes<T>) store(to + i, load(from + i));
      }
    }
    begin = end;
  }
}

JADRO_INLINE void set_offsets(const Planes& planes, i64 channels, i64 taps, i64* offsets) {
  for (i64 t = 0; t < taps; ++t) {
    const i64 tap = planes.tap_offset(t);
    for (i64 c = 0; c < channels; ++c) offsets[c * taps + t] = c * planes.size() + tap;
  }
}

// Row panels [panels] of the cells [cells] of one group; at most kMaxCells.
template <class T>
void conv2d_block(const Conv2dProduct<T>& a, i64 group, Range cells, Range panels, T* scratch) {
  const Conv2dPass& p = a.pass;
  const Planes planes(p, cells);
  const RowPanels rows(p.out);
  const Conv2dScratch<T> layout = product_scratch<T>(p, cells.end - cells.begin);
  i64* const offsets = layout.offsets_in(scratch);
  T* const image = layout.planes_in(scratch);
  T* const columns = layout.columns_in(scratch);
  Run runs[kMaxCells];
  i64 run_count = 0;
  planes.for_runs(kNr<T>, !a.direct, [&](const Run& run) { runs[run_count++] = run; });

  const T* const src = a.src + group * p.in * p.src_plane();
  const i64 step = conv2d_pass_channels(p);
  for (i64 c0 = 0; c0 < p.in; c0 += step) {
    const i64 channels = min(step, p.in - c0), k = channels * p.taps;
    const T* const w = a.w + group * p.packed_size() + c0 * p.taps * p.out;
    const Conv2dStore<T> sink{a, group, c0 == 0, c0 + channels == p.in};
    planes.fill(src, {c0, c0 + channels}, image);
    set_offsets(planes, channels, p.taps, offsets);
    if (!a.direct) pack_columns(runs, run_count, image, offsets, k, columns);
    alignas(64) T tile[kMr * kNr<T>];
    for (i64 begin = 0, end = 0; begin < run_count; begin = end) {
      // The runs of one tile: one where the planes are read in place, else those of a panel of columns.
      const i64 panel = runs[begin].first / kNr<T>;
      for (end = begin + 1; !a.direct && end < run_count && runs[end].first / kNr<T> == panel;) ++end;
      const i64 width = a.direct ? runs[begin].count : runs[end - 1].first + runs[end - 1].count - panel * kNr<T>;
      for (i64 r = panels.begin; r < panels.end; ++r) {
        const T* const panel_w = w + rows.start(r) * k;
        for (i64 i = begin; i < end; ++i) sink.touch(rows.start(r), rows.size(r), runs[i]);
        if (a.direct) {
          micro_for<T, Operands::kGatheredB>(rows.size(r), width)(k, panel_w, rows.size(r), image + runs[begin].base,
                                                                  offsets, tile);
          sink(tile, rows.start(r), rows.size(r), runs[begin]);
        } else {
          micro_for<T>(rows.size(r), width)(k, panel_w, rows.size(r), columns + panel * k * kNr<T>, nullptr, tile);
          for (i64 i = begin; i < end; ++i) sink(tile + runs[i].first % kNr<T>, rows.start(r), rows.size(r), runs[i]);
        }
      }
    }
  }
}

// --- the gradient of the weight: dw = dy columns^T, depth of the product = cells
// ---------------------------------------------

// The (channel, tap) rows `offsets` of the planes, transposed into panels [cell][kNr] of `width` columns.
template <class T>
void pack_columns_transposed(const Run* runs, i64 count, i64 cells, const T* planes, const i64* offsets, i64 width,
                             T* packed) {
  constexpr int kN = kLanes<T>;
  for (i64 j0 = 0; j0 < width; j0 += kNr<T>, packed += cells * kNr<T>) {
    for (i64 r = 0; r < count; ++r) {
      T* const dst = packed + runs[r].first * kNr<T>;
      for (i64 i = 0; i < runs[r].count; i += kN) {
#pragma GCC unroll 4
        for (int v = 0; v < kNv; ++v) {
          Vec<T> block[kN];
#pragma GCC unroll 16
          for (int j = 0; j < kN; ++j) {
            block[j] = load(planes + offsets[min(j0 + v * kN + j, width - 1)] + runs[r].base + i);
          }
          transpose<T>(block);
#pragma GCC unroll 16
          for (int q = 0; q < kN; ++q) store(dst + (i + q) * kNr<T> + v * kN, block[q]);
        }
      }
    }
  }
}

template <class T>
Conv2dScratch<T> weight_scratch(const Conv2dPass& p, i64 columns) {
  const i64 channels = min(p.in, columns / max(1, p.taps) + 2);
  return {channels * p.taps, conv2d_planes_bound(p, channels, kKc),
          (p.out + ceil_div(columns, kNr<T>) * kNr<T>)*kKc + Conv2dScratch<T>::kSlack};
}
template <class T>
i64 conv2d_weight_scratch(const Conv2dPass& p, i64 columns) {
  return weight_scratch<T>(p, columns).total();
}

// Columns [columns] of one group's dw [out, depth], summed over the cells [cells].
template <class T>
void conv2d_weight_block(const Conv2dWeight<T>& a, i64 group, Range cells, Range columns, T* scratch) {
  const Conv2dPass& p = a.pass;
  const i64 width = columns.end - columns.begin, grid = p.grid(), depth = p.depth();
  const Range channels{columns.begin / p.taps, ceil_div(columns.end, p.taps)};
  const Conv2dScratch<T> layout = weight_scratch<T>(p, width);
  i64* const offsets = layout.offsets_in(scratch);
  T* const image = layout.planes_in(scratch);
  T* const packed_dy = layout.columns_in(scratch);
  T* const packed_columns = packed_dy + p.out * kKc + Conv2dScratch<T>::kSlack;
  const RowPanels rows(p.out);
  const T* const src = a.src + group * p.in * p.src_plane();
  T* const dw = a.dw + group * p.out * depth + columns.begin;
  Run runs[kMaxCells];
  for (i64 cell = cells.begin; cell < cells.end; cell += kKc) {
    const Range chunk{cell, min(cells.end, cell + kKc)};
    const i64 k = chunk.end - chunk.begin;
    const Planes planes(p, chunk);
    i64 run_count = 0;
    planes.for_runs(k, false, [&](const Run& run) { runs[run_count++] = run; });
    planes.fill(src, channels, image);
    set_offsets(planes, channels.end - channels.begin, p.taps, offsets);
    pack_columns_transposed(runs, run_count, k, image, offsets + columns.begin % p.taps, width, packed_columns);
    for (i64 r = 0; r < rows.count; ++r) {
      for (i64 q = chunk.begin; q < chunk.end;) {  // image by image
        const i64 n = q / grid, count = min(chunk.end, (n + 1) * grid) - q;
        const T* const dy = a.dy + (n * p.groups * p.out + group * p.out + rows.start(r)) * grid + q % grid;
        pack_a(dy, grid, 1, rows.size(r), count, packed_dy + rows.start(r) * k + (q - chunk.begin) * rows.size(r));
        q += count;
      }
    }
    for_tiles<T>(
        rows, [&](i64 r) { return packed_dy + rows.start(r) * k; }, packed_columns, k, width, [](i64, i64, i64) {},
        [&](i64 r0, i64 height, i64 j0, i64 tile_width, const T* tile) {
          store_tile<T>(tile, height, tile_width, nullptr, cell != cells.begin, dw + r0 * depth + j0, depth);
        });
  }
}

// The sum of a plane in kLanes x 4 partial sums.
template <class T>
T sum(const T* a, i64 size) {
  Vec<T> part[4] = {};
  i64 i = 0;
  for (; i + 4 * kLanes<T> <= size; i += 4 * kLanes<T>) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) part[v] += load(a + i + v * kLanes<T>);
  }
  T s = sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3]));
  for (; i < size; ++i) s += a[i];
  return s;
}

}  // namespace
}  // namespace jadro
