// Convolution on the engine. im2col packs the columns of a block from its planes, panel by panel, so no matrix of the
// whole image exists; direct lets the microkernel read the planes in place, row by row, which pays where few channels
// share a column.
#pragma once

#include "kernels/conv2d_filters.h"
#include "kernels/conv2d_planes.h"
#include "kernels/conv2d_store.h"

namespace jadro {
namespace {

constexpr i64 kNearBytes = 256 << 10;  // of a block that all filters may read in turn: results then go out row by row
constexpr i64 kTouchDepth = 64;        // of a product that leaves memory the time to answer meanwhile

// Scratch of one block: the offset of every (channel, tap) of a pass, the planes, the packed operands, sums of tiles
// between the passes, and a panel of filters that were not packed before.
template <class T>
struct Conv2dScratch {
  static constexpr i64 kSlack = kLanes<T> * kNr<T>;  // whole vectors are read and written past the end

  i64 offsets, planes, columns, sums, panel;  // elements of T
  Conv2dScratch(i64 depth, i64 planes_size, i64 columns_size, i64 sums_size, i64 panel_size)
      : offsets(round_up(depth * static_cast<i64>(sizeof(i64) / sizeof(T)))),
        planes(round_up(planes_size + kSlack)),
        columns(round_up(columns_size + kSlack)),
        sums(sums_size),
        panel(round_up(panel_size)) {}
  i64 total() const { return offsets + planes + columns + sums + panel; }
  i64* offsets_in(T* scratch) const { return reinterpret_cast<i64*>(scratch); }
  T* planes_in(T* scratch) const { return scratch + offsets; }
  T* columns_in(T* scratch) const { return scratch + offsets + planes; }
  T* sums_in(T* scratch) const { return scratch + offsets + planes + columns; }
  T* panel_in(T* scratch) const { return scratch + offsets + planes + columns + sums; }

 private:
  static i64 round_up(i64 n) { return ceil_div(n, 64) * 64; }
};

// A tile of the product, in cells and in outgoing channels.
template <class T>
i64 tile_cells(const Conv2dProduct<T>& a) {
  return a.cells_are_rows ? kMr : kNr<T>;
}
template <class T>
i64 tile_channels(const Conv2dProduct<T>& a) {
  return a.cells_are_rows ? kNr<T> : kMr;
}

template <class T>
Conv2dScratch<T> product_scratch(const Conv2dProduct<T>& a, i64 cells) {
  const Conv2dPass& p = a.pass;
  const i64 depth = p.channels * p.taps;
  const i64 planes = reads_in_place(p) ? 0 : conv2d_planes_bound(p, p.channels, cells);
  // A panel of cells for each run in the worst case, where planes are read in place.
  const i64 width = tile_cells(a), panel = tile_channels(a);
  const i64 tiles = min(kMaxCells, ceil_div(cells, width) + cells / max(1, p.grid_w) + 2);
  const bool packs = !a.direct || reads_in_place(p);
  return {depth, planes, packs ? depth * ceil_div(cells, width) * width : 0,
          p.channels < p.in ? tiles * ceil_div(p.out, panel) * kMr * kNr<T> : 0, a.packed ? 0 : panel * depth};
}
template <class T>
i64 conv2d_scratch(const Conv2dProduct<T>& a, i64 cells) {
  return product_scratch<T>(a, cells).total();
}

// tile += sums, rows x kNr.
template <class T>
JADRO_INLINE void add_tile(const T* sums, i64 rows, T* tile) {
  for (i64 i = 0; i < rows * kNr<T>; i += kLanes<T>) store(tile + i, load(tile + i) + load(sums + i));
}

// Columns [cells] of one pass as panels [k][width], from the planes; with kInPlace nothing is read past a run. No run
// crosses a panel. Lanes above the last cell become zero: what memory held may be numbers too small for full speed.
// Whole panels that are neighbours in the planes are copied together.
template <class T, bool kInPlace>
void pack_columns(const Run* runs, i64 count, const T* planes, const i64* offsets, i64 k, i64 width, T* packed) {
  constexpr i64 kAhead = 4;
  struct Stretch {
    i64 base, target, cells, panels;
  } stretches[kMaxCells];
  i64 stretch_count = 0;
  for (i64 r = 0; r < count; ++r) {
    const Run& run = runs[r];
    Stretch* const last = stretch_count ? stretches + stretch_count - 1 : nullptr;
    if (last && run.count == kNr<T> && last->cells == kNr<T> && width == kNr<T> &&
        run.base == last->base + last->panels * kNr<T>) {
      ++last->panels;
    } else {
      stretches[stretch_count++] = {run.base, run.first / width * k * width + run.first % width, run.count, 1};
    }
  }
  const i64 end = runs[count - 1].first + runs[count - 1].count, rest = end % width;
  for (i64 p = 0; rest > 0 && p < k; ++p) {
    T* const tail = packed + (end / width * k + p) * width + rest;
    for_vectors<T>(width - rest, [&](i64 i, i64 n) { store_n(tail + i, Vec<T>{}, n); });
  }
  for (i64 p = 0; p < k; ++p, packed += width) {
    const T* const ahead = planes + offsets[min(p + kAhead, k - 1)];
    for (i64 r = 0; r < stretch_count; ++r) {
      const Stretch& s = stretches[r];
      const T* from = planes + offsets[p] + s.base;
      T* to = packed + s.target;
      if (kInPlace) {
        for (i64 i = 0; i < s.panels * s.cells; i += 64 / sizeof(T)) __builtin_prefetch(ahead + s.base + i);
      }
      if (s.cells == kNr<T>) {
        for (i64 panel = 0; panel < s.panels; ++panel, from += kNr<T>, to += k * kNr<T>) {
#pragma GCC unroll 4
          for (int v = 0; v < kNv; ++v) store(to + v * kLanes<T>, load(from + v * kLanes<T>));
        }
        continue;
      }
      for_vectors<T>(s.cells,
                     [&](i64 i, i64 n) { store_n(to + i, kInPlace ? load_n(from + i, n) : load(from + i), n); });
    }
  }
}

JADRO_INLINE void set_offsets(const Conv2dPass& p, const Planes& planes, i64 channels, i64* offsets) {
  for (i64 t = 0; t < p.taps; ++t) {
    const i64 tap = planes.tap_offset(p, t);
    for (i64 c = 0; c < channels; ++c) offsets[c * p.taps + t] = c * planes.size() + tap;
  }
}

// The cells of a block in tiles of `width`: runs [begin, end) of the planes, and of the image, where rows may join.
template <class T>
struct Conv2dTiles {
  Run runs[kMaxCells], joined[kMaxCells];
  i64 whole[kMaxCells];  // whole tiles of one run each, from a joined run on, that follow each other in the image
  i64 run_count = 0, joined_count = 0;
  i64 width;
  bool one_run;      // a tile is a run, its columns read in place
  bool even = true;  // pixels of joined runs are whole vectors apart

  Conv2dTiles(const Planes& planes, const Conv2dPass& p, i64 tile_width, bool direct, bool rows)
      : width(tile_width), one_run(direct) {
    const Cut own = rows ? Cut::kEven : Cut::kReachBack;
    planes.for_runs(width, direct ? own : Cut::kAligned, [&](const Run& run) {
      runs[run_count++] = run;
      Run* const last = joined_count ? joined + joined_count - 1 : nullptr;
      if (!direct && last && p.dst_step_w == 1 && same_panel(*last, run) && last->n == run.n &&
          last->pixel + last->count == run.pixel) {
        last->count += run.count;
      } else {
        joined[joined_count++] = run;
      }
    });
    for (i64 i = joined_count - 1; i >= 0; --i) {
      const bool goes_on = i + 1 < joined_count && joined[i + 1].n == joined[i].n &&
                           (direct || joined[i + 1].pixel == joined[i].pixel + kNr<T>);
      whole[i] = joined[i].count < kNr<T> ? 0 : goes_on ? 1 + whole[i + 1] : 1;
      even &= (joined[i].pixel - joined[0].pixel) % kLanes<T> == 0;
    }
  }

  // f(tile number, cells, begin, end) for the runs [begin, end) of the image in each tile.
  template <class F>
  JADRO_INLINE void for_each(F f) const {
    for (i64 begin = 0, end = 0, tile = 0; begin < joined_count; begin = end, ++tile) {
      for (end = begin + 1; !one_run && end < joined_count && same_panel(joined[begin], joined[end]);) ++end;
      f(tile, joined[end - 1].first + joined[end - 1].count - joined[begin].first, begin, end);
    }
  }

 private:
  bool same_panel(const Run& a, const Run& b) const { return a.first / width == b.first / width; }
};

// The operands of one product for a block of cells.
template <class T>
class Conv2dOperands {
 public:
  Conv2dOperands(const Conv2dProduct<T>& product, i64 group, Range cells)
      : a_(product), layout_(product_scratch<T>(product, cells.end - cells.begin)) {
    const Conv2dPass& p = a_.pass;
    direct_ = a_.direct && !reads_in_place(p);
    width_ = ChannelPanels<T>(p.out, a_.cells_are_rows).width();
    w_ = a_.w + group * (a_.packed ? p.packed_size(a_.cells_are_rows ? kNr<T> : 1) : p.w_group);
  }
  bool direct() const { return direct_; }
  T* place(T* scratch) {  // gives the rest of the scratch
    scratch_ = scratch;
    return scratch + layout_.total();
  }
  T* planes() const { return layout_.planes_in(scratch_); }
  T* sums() const { return layout_.sums_in(scratch_); }

  void load(Range channels, const Planes& planes, const T* image, const Conv2dTiles<T>& tiles) {
    const Conv2dPass& p = a_.pass;
    channels_ = channels.end - channels.begin, depth_ = channels_ * p.taps;
    filters_ = w_ + channels.begin * (a_.packed ? p.taps * width_ : p.w_in);
    image_ = image;
    set_offsets(p, planes, channels.end - channels.begin, layout_.offsets_in(scratch_));
    if (direct_) return;
    const auto pack = reads_in_place(p) ? pack_columns<T, true> : pack_columns<T, false>;
    pack(tiles.runs, tiles.run_count, image_, layout_.offsets_in(scratch_), depth_, tiles.width,
         layout_.columns_in(scratch_));
  }

  // The filters of the channels [m, m + height) to come.
  void take_filters(i64 m, i64 height) {
    if (a_.packed) {
      panel_ = filters_ + m * depth_;
      return;
    }
    T* const panel = layout_.panel_in(scratch_);
    const auto pack = a_.cells_are_rows ? pack_filter_columns<T> : pack_filter_rows<T>;
    pack(a_.pass, filters_ + m * a_.pass.w_out, height, channels_, panel);
    panel_ = panel;
  }

  // tile = the channels whose filters were taken, `height` of them, of the tile that starts with `run`; or, where cells
  // are columns, to its end.
  JADRO_INLINE void multiply(i64 height, i64 width, const Run& run, T* tile, const TileEnd<T>* end) const {
    const i64* const offsets = layout_.offsets_in(scratch_);
    const T* const packed = layout_.columns_in(scratch_);
    const T* const planes = image_ + run.base;
    if (direct_ && a_.cells_are_rows) {
      micro_for<T>(width, height, Operands::kGatheredA)(depth_, planes, 0, panel_, offsets, tile, nullptr);
    } else if (direct_) {
      micro_for<T>(height, width, Operands::kGatheredB)(depth_, panel_, height, planes, offsets, tile, end);
    } else if (a_.cells_are_rows) {
      const T* const rows = packed + run.first / kMr * depth_ * kMr;
      micro_for<T>(width, height)(depth_, rows, kMr, panel_, nullptr, tile, nullptr);
    } else {
      const T* const columns = packed + run.first / kNr<T> * depth_ * kNr<T>;
      micro_for<T>(height, width)(depth_, panel_, height, columns, nullptr, tile, end);
    }
  }

 private:
  const Conv2dProduct<T>& a_;
  const Conv2dScratch<T> layout_;
  T* scratch_ = nullptr;
  bool direct_;
  const T *w_, *filters_ = nullptr, *panel_ = nullptr, *image_ = nullptr;
  i64 width_, channels_ = 0, depth_ = 0;
};

// Row panels [panels] of the cells [cells], at most kMaxCells, of one group. With count > 1 the products are the phases
// of a row, in order, on one grid: they differ by the columns of their taps, and share the planes.
template <class T>
class Conv2dBlock {
 public:
  Conv2dBlock(const Conv2dProduct<T>* phases, i64 count, i64 group, Range cells, Range panels, T* scratch)
      : a_(phases[0]),
        p_(a_.pass),
        count_(count),
        cells_(cells.end - cells.begin),
        panels_(panels),
        rows_(p_.out, a_.cells_are_rows),
        operands_{{phases[0], group, cells},
                  {phases[min(1, count - 1)], group, cells},
                  {phases[min(2, count - 1)], group, cells},
                  {phases[min(3, count - 1)], group, cells}},
        planes_(p_, cells),
        tiles_(planes_, p_, tile_cells(a_), operands_[0].direct(), a_.cells_are_rows),
        sink_(a_, group),
        src_(a_.src + group * p_.in * p_.src_plane()),
        ends_(count == 1 && p_.channels >= p_.in && p_.dst_step_w == 1 && !a_.cells_are_rows && sink_.ends()) {
    static_assert(kConv2dPhases == 4);
    for (i64 f = 0; f < count; ++f) scratch = operands_[f].place(scratch);
  }

  // All channels, as many in one pass as the planes and panels have room for.
  void run() {
    for (i64 c = 0; c < p_.in; c += p_.channels) {
      const Range channels{c, min(p_.in, c + p_.channels)};
      const i64 depth = (channels.end - channels.begin) * p_.taps;
      first_ = c == 0, last_ = channels.end == p_.in, touches_ = last_ && depth >= kTouchDepth;
      const T* const image = planes_.of(src_, channels, operands_[0].planes());
      for (i64 f = 0; f < count_; ++f) operands_[f].load(channels, planes_, image, tiles_);
      const i64 copied = reads_in_place(p_) ? 0 : (channels.end - channels.begin) * planes_.size();
      const bool near = max(copied, depth * cells_) * static_cast<i64>(sizeof(T)) <= kNearBytes;
      near || !a_.packed ? multiply_by_panels() : multiply_by_tiles();
    }
    if (a_.past_caches) stream_fence();
  }

 private:
  void multiply_by_panels() {
    for (i64 r = panels_.begin; r < panels_.end; ++r) {
      take(r);
      i64 next = 0;
      tiles_.for_each([&](i64 number, i64 width, i64 begin, i64 end) {
        if (begin == next) next = multiply(r, kMaxCells, number, width, begin, end);
      });
    }
  }
  void multiply_by_tiles() {
    tiles_.for_each([&](i64 number, i64 width, i64 begin, i64 end) {
      for (i64 r = panels_.begin; r < panels_.end; ++r) take(r), multiply(r, 1, number, width, begin, end);
    });
  }

  void take(i64 r) {
    if (ends_) end_ = sink_.end(rows_.start(r));
    for (i64 f = 0; f < count_; ++f) operands_[f].take_filters(rows_.start(r), rows_.size(r));
  }

  // A tile; those after it too, `most` at most, where they are whole and stored by the microkernel. Returns the run
  // after them.
  i64 multiply(i64 r, i64 most, i64 number, i64 width, i64 begin, i64 end) {
    const i64 m = rows_.start(r), height = rows_.size(r);
    for (i64 i = begin; touches_ && i < end; ++i) sink_.touch(m, height, tiles_.joined[i]);
    if (ends_ && tiles_.whole[begin] > 0) {
      const i64 some = touches_ ? 1 : min(most, tiles_.whole[begin]);
      sink_.aim(m, tiles_.joined[begin], some, tiles_.even, end_);
      operands_[0].multiply(height, width, tiles_.joined[begin], nullptr, &end_);
      return begin + some;
    }
    for (i64 f = 0; f < count_; ++f) {
      T* const sum = operands_[f].sums() + (number * rows_.count() + r) * kMr * kNr<T>;
      T* const done = finished_ + f * kMr * kNr<T>;
      operands_[f].multiply(height, width, tiles_.joined[begin], first_ && !last_ ? sum : done, nullptr);
      if (!first_) add_tile(last_ ? sum : done, a_.cells_are_rows ? width : height, last_ ? done : sum);
    }
    if (last_ && a_.cells_are_rows) {
      store_turned(sink_, finished_, width, m, height, tiles_.joined, begin, end);
    } else if (last_) {
      store_phases(sink_, p_, finished_, count_, m, height, tiles_.joined, begin, end);
    }
    return end;
  }

  const Conv2dProduct<T>& a_;
  const Conv2dPass& p_;
  const i64 count_, cells_;
  const Range panels_;
  const ChannelPanels<T> rows_;
  Conv2dOperands<T> operands_[kConv2dPhases];
  const Planes planes_;
  const Conv2dTiles<T> tiles_;
  const Conv2dStore<T> sink_;
  const T* const src_;
  const bool ends_;  // in one pass, to neighbouring pixels, cells along the vectors: whole tiles need no buffer
  bool first_, last_, touches_;  // of a pass
  TileEnd<T> end_;
  alignas(64) T finished_[kConv2dPhases * kMr * kNr<T>];
};
template <class T>
void conv2d_block(const Conv2dProduct<T>* phases, i64 count, i64 group, Range cells, Range panels, T* scratch) {
  Conv2dBlock<T>(phases, count, group, cells, panels, scratch).run();
}

// --- the gradient of the weight: dw = dy columns^T, cells are the depth of the product -------------------------------

// The (channel, tap) rows `offsets` of the planes, transposed into panels [cell][kNr] of `width` columns.
template <class T>
void pack_columns_transposed(const Run* runs, i64 count, i64 cells, const T* planes, const i64* offsets, i64 width,
                             T* packed) {
  constexpr int kN = kLanes<T>;
  for (i64 j0 = 0; j0 < width; j0 += kNr<T>, packed += cells * kNr<T>) {
    for (i64 r = 0; r < count; ++r) {
      T* const dst = packed + runs[r].first * kNr<T>;
      for (i64 i = 0; i < runs[r].count; i += kN) {
        const i64 lanes = min(kN, runs[r].count - i);
#pragma GCC unroll 4
        for (int v = 0; v < kNv; ++v) {
          Vec<T> block[kN];
#pragma GCC unroll 16
          for (int j = 0; j < kN; ++j) {
            block[j] = load_n(planes + offsets[min(j0 + v * kN + j, width - 1)] + runs[r].base + i, lanes);
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
          (p.out + ceil_div(columns, kNr<T>) * kNr<T>)*kKc + Conv2dScratch<T>::kSlack, 0, 0};
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
    planes.for_runs(k, Cut::kWhole, [&](const Run& run) { runs[run_count++] = run; });
    const T* const image = planes.of(src, channels, layout.planes_in(scratch));
    set_offsets(p, planes, channels.end - channels.begin, offsets);
    pack_columns_transposed(runs, run_count, k, image, offsets + columns.begin % p.taps, width, packed_columns);
    for (i64 r = 0; r < rows.count; ++r) {
      for (i64 q = chunk.begin; q < chunk.end;) {  // image by image
        const i64 n = q / grid, count = min(chunk.end, (n + 1) * grid) - q;
        const T* const dy = a.dy + (n * p.groups * p.out + group * p.out + rows.start(r)) * grid + q % grid;
        pack_a(dy, grid, 1, rows.size(r), count, packed_dy + rows.start(r) * k + (q - chunk.begin) * rows.size(r));
        q += count;
      }
    }
    multiply_panels<T>({rows, packed_dy, k, Operands::kPlain}, packed_columns, k, width, nullptr, cell != cells.begin,
                       dw, depth);
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
