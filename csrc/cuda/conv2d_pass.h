// A convolution seen as one matrix product a group, as core/kernel_table.h draws it for the CPU: rows are the outgoing
// channels, columns the cells (n, k, i, j) of a grid, and the depth runs over (incoming channel, tap). Here the taps
// lie evenly, so that a few numbers say where they are. Nothing is copied: the operands read x, w and dy where they
// stand.
#pragma once

#include "cuda/divide.h"

namespace jadro::cuda {

// Along one axis: cell i and tap t meet at source place i step + first + t apart, and the result of cell i goes to
// destination place i dst_step + dst_first; tap t is the filter's element w_first + t w_step of `kernel`.
struct PassAxis {
  int source, grid, step, taps, first, apart, destination, dst_step, dst_first, kernel, w_first, w_step;
};

struct Conv2dPass {
  i64 n, groups, in, out;  // channels of one group
  PassAxis d, h, w;
  i64 w_out, w_in, w_group;  // distances in the filters of outgoing and incoming channels, and of groups
  PaddingMode mode;          // what stands outside the source
  Divider by_taps, by_taps_hw, by_taps_w, by_grid, by_grid_hw, by_grid_w;

  i64 cells() const { return n * d.grid * h.grid * w.grid; }
  // Whether a row of the filters stands in the order of the depth.
  bool filters_in_order() const {
    const auto whole = [](const PassAxis& a) { return a.taps == a.kernel && a.w_first == 0 && a.w_step == 1; };
    return whole(d) && whole(h) && whole(w) && w_in == static_cast<i64>(d.taps) * h.taps * w.taps;
  }
  i64 depth() const { return in * d.taps * h.taps * w.taps; }
  JADRO_DEVICE i64 source_size() const { return static_cast<i64>(d.source) * h.source * w.source; }
  JADRO_DEVICE i64 destination_size() const { return static_cast<i64>(d.destination) * h.destination * w.destination; }
  void set_dividers() {
    const auto divider = [](i64 by) { return Divider(by > 0 ? by : 1); };
    by_taps = divider(static_cast<i64>(d.taps) * h.taps * w.taps);
    by_taps_hw = divider(static_cast<i64>(h.taps) * w.taps);
    by_taps_w = divider(w.taps);
    by_grid = divider(static_cast<i64>(d.grid) * h.grid * w.grid);
    by_grid_hw = divider(static_cast<i64>(h.grid) * w.grid);
    by_grid_w = divider(w.grid);
  }
};

struct Place3 {
  int outer, d, h, w;  // outer: the incoming channel of a tap, the image of a cell
};

// `index` in mixed base: outer, d, h, w, by the sizes of all three axes, of two, and of the last.
__device__ inline Place3 split_index(u32 index, const Divider& all, const Divider& two, const Divider& one) {
  const u32 outer = all.divide(index), rest = index - outer * all.divisor;
  const u32 d = two.divide(rest), plane = rest - d * two.divisor, h = one.divide(plane);
  return {static_cast<int>(outer), static_cast<int>(d), static_cast<int>(h), static_cast<int>(plane - h * one.divisor)};
}
__device__ inline Place3 tap_of(const Conv2dPass& p, i64 depth) {
  return split_index(static_cast<u32>(depth), p.by_taps, p.by_taps_hw, p.by_taps_w);
}
__device__ inline Place3 cell_of(const Conv2dPass& p, i64 cell) {
  return split_index(static_cast<u32>(cell), p.by_grid, p.by_grid_hw, p.by_grid_w);
}

// Where a cell, or a tap, stands in the source; the two add up to a place.
struct SourceOffset {
  i64 plane;  // negative: there is no such cell, or tap
  int d, h, w;
};

template <class T>
struct Conv2dSource {
  Conv2dPass pass;
  const T* data;

  __device__ void select(i64 group) { data += group * pass.in * pass.source_size(); }
  __device__ SourceOffset cell(i64 index, i64 count) const {
    if (index < 0 || index >= count) return {-1, 0, 0, 0};
    const Place3 c = cell_of(pass, index);
    return {c.outer * pass.groups * pass.in * pass.source_size(), c.d * pass.d.step, c.h * pass.h.step,
            c.w * pass.w.step};
  }
  __device__ SourceOffset tap(i64 index, i64 count) const {
    if (index < 0 || index >= count) return {-1, 0, 0, 0};
    const Place3 t = tap_of(pass, index);
    return {t.outer * pass.source_size(), pass.d.first + t.d * pass.d.apart, pass.h.first + t.h * pass.h.apart,
            pass.w.first + t.w * pass.w.apart};
  }
  __device__ T at(const SourceOffset& a, const SourceOffset& b) const {
    if (a.plane < 0 || b.plane < 0) return T(0);
    i64 d = a.d + b.d, h = a.h + b.h, w = a.w + b.w;
    if (pass.mode != PaddingMode::kZeros) {
      d = source_cell(pass.mode, d, pass.d.source);
      h = source_cell(pass.mode, h, pass.h.source);
      w = source_cell(pass.mode, w, pass.w.source);
    } else if (d < 0 || d >= pass.d.source || h < 0 || h >= pass.h.source || w < 0 || w >= pass.w.source) {
      return T(0);
    }
    return data[a.plane + b.plane + (d * pass.h.source + h) * pass.w.source + w];
  }
};

// Columns are cells, the depth taps.
template <class T>
struct Conv2dColumns : Conv2dSource<T> {
  static constexpr bool along_depth = false;
  __device__ SourceOffset place(i64 index) const {
    return this->cell(index, this->pass.by_grid.divisor * this->pass.n);
  }
  __device__ SourceOffset step(i64 k) const { return this->tap(k, k + 1); }
};

// For the gradient of the weights: columns are taps, the depth cells.
template <class T>
struct Conv2dTransposedColumns : Conv2dSource<T> {
  static constexpr bool along_depth = true;
  __device__ SourceOffset place(i64 index) const {
    return this->tap(index, this->pass.in * this->pass.by_taps.divisor);
  }
  __device__ SourceOffset step(i64 k) const { return this->cell(k, k + 1); }
};

template <class T>
struct Conv2dFilters {
  static constexpr bool along_depth = true;
  Conv2dPass pass;
  const T* data;

  __device__ void select(i64 group) { data += group * pass.w_group; }
  __device__ i64 place(i64 row) const { return row < pass.out ? row * pass.w_out : -1; }
  __device__ i64 step(i64 k) const { return k < 0 ? -1 : element(tap_of(pass, k)); }
  __device__ i64 element(const Place3& t) const {
    const i64 d = pass.d.w_first + t.d * pass.d.w_step, h = pass.h.w_first + t.h * pass.h.w_step;
    return t.outer * pass.w_in + (d * pass.h.kernel + h) * pass.w.kernel + pass.w.w_first + t.w * pass.w.w_step;
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
    const i64 n = pass.by_grid.divide(static_cast<u32>(k));
    return n * pass.groups * pass.out * pass.by_grid.divisor + (k - n * pass.by_grid.divisor);
  }
  __device__ T at(i64 place, i64 step) const { return place >= 0 && step >= 0 ? data[place + step] : T(0); }
};

}  // namespace jadro::cuda
