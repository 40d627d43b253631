// A convolution seen as one matrix product a group, as core/kernel_table.h draws it for the CPU: rows are the outgoing
// channels, columns the cells (n, i, j) of a grid, and the depth runs over (incoming channel, tap). Here the taps lie
// evenly, so that a few numbers say where they are. Nothing is copied: the operands read x, w and dy where they stand.
#pragma once

#include "cuda/divide.h"

namespace jadro::cuda {

// Along one axis: cell i and tap t meet at source pixel i step + first + t apart, and the result of cell i goes to
// destination pixel i dst_step + dst_first; tap t is the filter's row w_first + t w_step.
struct Conv2dAxis {
  int source, grid, step, taps, first, apart, destination, dst_step, dst_first, w_first, w_step;
};

struct Conv2dPass {
  i64 n, groups, in, out;  // channels of one group
  Conv2dAxis h, w;
  i64 w_out, w_in;  // distances in the filter of outgoing and of incoming channels
  int w_row;        // of the filter's rows
  i64 w_group;
  Divider by_taps, by_taps_w, by_grid, by_grid_w;

  i64 cells() const { return n * h.grid * w.grid; }
  i64 depth() const { return in * h.taps * w.taps; }
  void set_dividers() {
    by_taps = Divider(h.taps * w.taps > 0 ? h.taps * w.taps : 1);
    by_taps_w = Divider(w.taps > 0 ? w.taps : 1);
    by_grid = Divider(h.grid * w.grid);
    by_grid_w = Divider(w.grid);
  }
};

struct Conv2dTap {  // (c, th, tw) of a depth
  int c, h, w;
};
struct Conv2dCell {
  int n, i, j;
};

__device__ inline Conv2dTap tap_of(const Conv2dPass& p, i64 depth) {
  const u32 k = static_cast<u32>(depth), c = p.by_taps.divide(k), tap = k - c * p.by_taps.divisor;
  const u32 h = p.by_taps_w.divide(tap);
  return {static_cast<int>(c), static_cast<int>(h), static_cast<int>(tap - h * p.by_taps_w.divisor)};
}
__device__ inline Conv2dCell cell_of(const Conv2dPass& p, i64 cell) {
  const u32 k = static_cast<u32>(cell), n = p.by_grid.divide(k), rest = k - n * p.by_grid.divisor;
  const u32 i = p.by_grid_w.divide(rest);
  return {static_cast<int>(n), static_cast<int>(i), static_cast<int>(rest - i * p.by_grid_w.divisor)};
}

constexpr int kOutside = -(1 << 30);  // a row of no image

// Where a cell, or a tap, stands in the source; the two add up to a pixel.
struct Conv2dOffset {
  i64 plane;
  int h, w;
};

template <class T>
struct Conv2dSource {
  Conv2dPass pass;
  const T* data;

  __device__ void select(i64 group) { data += group * pass.in * pass.h.source * pass.w.source; }
  __device__ Conv2dOffset cell(i64 index, i64 count) const {
    if (index < 0 || index >= count) return {0, kOutside, 0};
    const Conv2dCell c = cell_of(pass, index);
    const i64 channels = pass.groups * pass.in;
    return {c.n * channels * pass.h.source * pass.w.source, c.i * pass.h.step, c.j * pass.w.step};
  }
  __device__ Conv2dOffset tap(i64 index, i64 count) const {
    if (index < 0 || index >= count) return {0, kOutside, 0};
    const Conv2dTap t = tap_of(pass, index);
    return {static_cast<i64>(t.c) * pass.h.source * pass.w.source, pass.h.first + t.h * pass.h.apart,
            pass.w.first + t.w * pass.w.apart};
  }
  __device__ T at(const Conv2dOffset& a, const Conv2dOffset& b) const {
    const int h = a.h + b.h, w = a.w + b.w;
    const bool inside = h >= 0 && h < pass.h.source && w >= 0 && w < pass.w.source;
    return inside ? data[a.plane + b.plane + static_cast<i64>(h) * pass.w.source + w] : T(0);
  }
};

// Columns are cells, the depth taps.
template <class T>
struct Conv2dColumns : Conv2dSource<T> {
  static constexpr bool along_depth = false;
  __device__ Conv2dOffset place(i64 index) const {
    return this->cell(index, this->pass.by_grid.divisor * this->pass.n);
  }
  __device__ Conv2dOffset step(i64 k) const { return this->tap(k, k + 1); }
};

// For the gradient of the weights: columns are taps, the depth cells.
template <class T>
struct Conv2dTransposedColumns : Conv2dSource<T> {
  static constexpr bool along_depth = true;
  __device__ Conv2dOffset place(i64 index) const {
    return this->tap(index, this->pass.in * this->pass.by_taps.divisor);
  }
  __device__ Conv2dOffset step(i64 k) const { return this->cell(k, k + 1); }
};

template <class T>
struct Conv2dFilters {
  static constexpr bool along_depth = true;
  Conv2dPass pass;
  const T* data;

  __device__ void select(i64 group) { data += group * pass.w_group; }
  __device__ i64 place(i64 row) const { return row < pass.out ? row * pass.w_out : -1; }
  __device__ i64 step(i64 k) const {
    if (k < 0) return -1;
    const Conv2dTap t = tap_of(pass, k);
    return t.c * pass.w_in + static_cast<i64>(pass.h.w_first + t.h * pass.h.w_step) * pass.w_row + pass.w.w_first +
           t.w * pass.w.w_step;
  }
  __device__ T at(i64 place, i64 step) const { return place >= 0 && step >= 0 ? data[place + step] : T(0); }
};

// dy as the rows of the gradient of the weights: [out, cells].
template <class T>
struct Conv2dResults {
  static constexpr bool along_depth = true;
  Conv2dPass pass;
  const T* data;

  __device__ void select(i64 group) { data += group * pass.out * pass.by_grid.divisor; }
  __device__ i64 place(i64 row) const { return row < pass.out ? row * pass.by_grid.divisor : -1; }
  __device__ i64 step(i64 k) const {
    if (k < 0) return -1;
    const u32 n = pass.by_grid.divide(static_cast<u32>(k));
    return n * pass.groups * pass.out * pass.by_grid.divisor + (k - static_cast<i64>(n) * pass.by_grid.divisor);
  }
  __device__ T at(i64 place, i64 step) const { return place >= 0 && step >= 0 ? data[place + step] : T(0); }
};

}  // namespace jadro::cuda
