// The source image as the product sees it: the rows that a block of cells needs, padding written out, columns sorted by
// their phase of the stride. Every (channel, tap) is then one constant offset from the cell's own, and neighbouring
// cells are neighbours.
#pragma once

#include "core/kernel_table.h"
#include "kernels/gemm.h"

namespace jadro {
namespace {

constexpr i64 kMaxCells = 512;  // cells of one block at most

// How the columns of a row are laid out: dst[f * phase + k] = row[left + k * step + f] for f < phases and k < length,
// zero outside the row. Phases of the step that no tap meets are left out.
struct Columns {
  i64 left, step, phases, length, phase;
};

// With step 1 whole vectors are written, zeros past the end: rows are filled from the first to the last.
template <class T>
void split_row(const T* row, i64 width, const Columns& c, T* dst) {
  const i64 columns = c.length * c.step, begin = min(columns, max(0, -c.left));
  const i64 end = max(begin, min(columns, width - c.left));
  const T* const from = row + c.left;
  if (c.step == 1) {
    for (i64 x = 0; x < begin; x += kLanes<T>) store(dst + x, Vec<T>{});
    i64 x = begin;
    for (; x < end; x += kLanes<T>) store(dst + x, load_n(from + x, min(kLanes<T>, end - x)));
    for (; x < columns; x += kLanes<T>) store(dst + x, Vec<T>{});
    return;
  }
  for (i64 f = 0; f < c.phases; ++f) {
    for (i64 k = 0, x = f; k < c.length; ++k, x += c.step) {
      dst[f * c.phase + k] = x >= begin && x < end ? from[x] : T(0);
    }
  }
}

// The cells that split_row left zero, outside the row's [0, width), as the padding shows them.
template <class T>
void pad_row(PaddingMode mode, const T* row, i64 width, const Columns& c, T* dst) {
  const i64 columns = c.length * c.step, begin = min(columns, max(0, -c.left));
  const auto show = [&](i64 first, i64 last) {
    for (i64 x = first; x < last; ++x) {
      const i64 f = x % c.step;
      if (f < c.phases) dst[f * c.phase + x / c.step] = row[source_cell(mode, c.left + x, width)];
    }
  };
  show(0, begin);
  show(max(begin, min(columns, width - c.left)), columns);
}

// split_row of `rows` rows by vectors; row r is shown(r) of the plane, zeros below 0. Vectors inside the plane go row
// by row, as memory is read fastest; those at an edge share their masks among the rows.
template <class T, int kStep, class Shown>
void split_rows(const T* plane, i64 width, i64 rows, const Columns& c, i64 pitch, T* dst, const Shown& shown) {
  constexpr i64 kRead = kStep * kLanes<T>;  // cells of the row behind a vector of each phase
  const i64 begin = ceil_div(max(0, -c.left), kRead);
  const i64 end = max(begin, min(max(0, width - c.left) / kRead, c.length / kLanes<T>));
  const auto split = [&](const Vec<T>* v, i64 count, T* to) {
    for_every<T, kStep>(v, [&](int f, Vec<T> cells) {
      if (f < c.phases) store_n(to + f * c.phase, cells, count);
    });
  };
  for (i64 next = 0; next < c.length; next += kLanes<T>) {
    if (next == begin * kLanes<T>) next = end * kLanes<T>;
    if (next >= c.length) break;
    const i64 k = max(0, min(next, c.length - kLanes<T>));  // the last reaches back: no store is partial
    const i64 x = c.left + kStep * k, count = min(kLanes<T>, c.length - k);
    LaneMask<T> inside[kStep];
#pragma GCC unroll 4
    for (int i = 0; i < kStep; ++i) {
      inside[i] = lanes_between<T>(-x - i * kLanes<T>, width - x - i * kLanes<T>);
    }
    for (i64 r = 0; r < rows; ++r) {
      const i64 at = shown(r);
      Vec<T> v[kStep] = {};
      if (at >= 0) {
#pragma GCC unroll 4
        for (int i = 0; i < kStep; ++i) v[i] = load_lanes(plane + at * width + x + i * kLanes<T>, inside[i]);
      }
      split(v, count, dst + r * pitch + k);
    }
  }
  for (i64 r = 0; begin < end && r < rows; ++r) {
    const i64 at = shown(r);
    const T* from = at < 0 ? nullptr : plane + at * width + c.left + begin * kRead;
    for (i64 k = begin; k < end; ++k, from += at < 0 ? 0 : kRead) {
      Vec<T> v[kStep] = {};
      if (at >= 0) {
#pragma GCC unroll 4
        for (int i = 0; i < kStep; ++i) v[i] = load(from + i * kLanes<T>);
      }
      split(v, kLanes<T>, dst + r * pitch + k * kLanes<T>);
    }
  }
}

// Rows h, h + step_h, ... of a source plane to `rows` rows of dst, `pitch` apart; rows and columns outside the plane as
// the padding shows them, without a plane zeros.
template <class T>
void padded_rows(const Conv2dPass& p, const T* plane, i64 h, i64 step_h, i64 rows, const Columns& c, i64 pitch,
                 T* dst) {
  const i64 width = p.src_w;
  const auto shown = [&](i64 r) { return plane ? source_cell(p.padding_mode, h + r * step_h, p.src_h) : -1; };
  const bool whole = c.step >= 2 && c.step <= 4;
  if (whole) {
    const auto split = c.step == 2   ? split_rows<T, 2, decltype(shown)>
                       : c.step == 3 ? split_rows<T, 3, decltype(shown)>
                                     : split_rows<T, 4, decltype(shown)>;
    split(plane, width, rows, c, pitch, dst, shown);
  }
  for (i64 r = 0; r < rows; ++r, dst += pitch) {
    const i64 at = shown(r);
    const T* const row = at < 0 ? dst : plane + at * width;
    if (!whole) split_row(row, at < 0 ? 0 : width, c, dst);
    if (at >= 0 && p.padding_mode != PaddingMode::kZeros) pad_row(p.padding_mode, row, width, c, dst);
  }
}

// The plane of one channel's volume `src` that stands at depth z of the padded volume; null for zeros.
template <class T>
JADRO_INLINE const T* source_plane(const Conv2dPass& p, const T* src, i64 z) {
  const i64 shown = source_cell(p.padding_mode, z, p.src_d);
  return shown < 0 ? nullptr : src + shown * p.src_h * p.src_w;
}

// Cells that are neighbours in a row of the grid: `count` of them from cell `first` of the block on.
struct Run {
  i64 first, count;
  i64 base;      // of the first cell in the planes, without channel and tap
  i64 n, pixel;  // image, and pixel of the destination
};

// How the cells of a row are cut into runs: at the multiples of a panel of the whole block; or each row by itself, into
// whole panels and a rest, a rest of over half a panel reaching back to be whole where the row allows, or into even
// parts.
enum class Cut { kAligned, kWhole, kReachBack, kEven };

// Whether every cell is one pixel of the source, in the same order: no copy is needed. The same for all passes that
// share the planes, one without taps among them.
JADRO_INLINE bool reads_in_place(const Conv2dPass& p) {
  const auto single = [](const Range& reach) { return reach.begin == 0 && reach.end == 0; };
  return p.taps <= 1 && (p.depths == 0 || p.tap_d[0] == 0) && single(p.reach_h) && single(p.reach_w) && p.step_d == 1 &&
         p.step_h == 1 && p.step_w == 1 && p.src_d == 1 && p.src_h == 1 && p.grid_d == 1 && p.grid_h == 1 &&
         p.grid_w == p.src_w;
}

// The geometry of the planes for cells [cells.begin, cells.end). A slice is a plane of the grid, number image * grid_d
// + depth; each depth of the taps has a copy of its own of the rows that the slice needs:
// [channel][depth of taps][slice][row][pitch].
class Planes {
 public:
  Planes(const Conv2dPass& pass, Range cells) : p_(pass), cells_(cells), in_place_(reads_in_place(pass)) {
    h_min_ = p_.reach_h.begin, w_min_ = p_.reach_w.begin;
    const i64 last = cells.end - 1;
    const bool one_row = cells.begin / p_.grid_w == last / p_.grid_w;
    j_low_ = one_row ? cells.begin % p_.grid_w : 0;
    const i64 j_high = one_row ? last % p_.grid_w : p_.grid_w - 1;
    columns_ = (j_high - j_low_) * p_.step_w + p_.reach_w.end - w_min_ + 1;
    phases_ = min(p_.step_w, p_.reach_w.end - w_min_ + 1);
    phase_ = ceil_div(columns_, p_.step_w);
    pitch_ = phase_ * phases_;
    halo_ = p_.reach_h.end - h_min_ + 1;
    row_step_ = min(p_.step_h, halo_);  // rows between those of two cells are left out
    rows_ = 0;
    for_slices([&](i64, i64, i64 first, i64 end) { rows_ += rows_of(first, end); });
    size_ = in_place_ ? p_.src_w : p_.depths * rows_ * pitch_;
  }

  i64 size() const { return size_; }  // elements of one channel

  // Where tap t of a pass on these planes stands from a cell's base.
  i64 tap_offset(const Conv2dPass& p, i64 t) const {
    const i64 w = p.tap_w[t] - w_min_;
    const i64 depth = p.depths == 1 ? 0 : t / (p.taps / p.depths);
    const i64 row = depth * rows_ + p.tap_h[t] - h_min_;
    return row * pitch_ + w % p_.step_w * phase_ + w / p_.step_w;
  }

  // The planes of channels [begin, end) of the source (one group's, `src` at its first image and channel), size()
  // apart: copied into dst, or where they stand.
  template <class T>
  const T* of(const T* src, Range channels, T* dst) const {
    if (in_place_) return src + channels.begin * size_;
    fill(src, channels, dst);
    T* const end = dst + (channels.end - channels.begin) * size_;  // is read with the last cells
    for (i64 i = 0; i < kNr<T>; i += kLanes<T>) store(end + i, Vec<T>{});
    return dst;
  }

  // Calls f for the runs of the block in order, none longer than `panel` cells.
  template <class F>
  void for_runs(i64 panel, Cut cut, F f) const {
    i64 slice_row = 0;  // rows of the planes before this slice's
    i64 row = (first_slice() * p_.grid_h + first_row(first_slice())) * p_.grid_w;  // cell of the row's start
    for_slices([&](i64 image, i64 depth, i64 first_row, i64 end_row) {
      const i64 dst_rows = (depth * p_.dst_step_d + p_.dst_d0) * p_.dst_h + p_.dst_h0;
      for (i64 i = first_row; i < end_row; ++i, row += p_.grid_w) {
        const i64 end = min(cells_.end, row + p_.grid_w);
        const i64 begin = max(cells_.begin, row);
        const bool back = cut == Cut::kReachBack && (end - begin) % panel * 2 > panel;
        const i64 last = back ? max(begin, end - panel) : end;
        for (i64 cell = begin; cell < end;) {
          cell = min(cell, last);
          const i64 first = cell - cells_.begin, j = cell - row;
          const i64 left = end - cell, count = cut == Cut::kEven
                                                   ? ceil_div(left, ceil_div(left, panel))
                                                   : min(left, cut == Cut::kAligned ? panel - first % panel : panel);
          const i64 base = in_place_ ? image * p_.groups * p_.in * size_ + j
                                     : (slice_row + (i - first_row) * row_step_) * pitch_ + j - j_low_;
          f(Run{first, count, base, image, (dst_rows + i * p_.dst_step_h) * p_.dst_w + j * p_.dst_step_w + p_.dst_w0});
          cell += count;
        }
      }
      slice_row += rows_of(first_row, end_row);
    });
  }

 private:
  i64 slice_cells() const { return p_.grid_h * p_.grid_w; }
  i64 first_slice() const { return cells_.begin / slice_cells(); }
  i64 last_slice() const { return (cells_.end - 1) / slice_cells(); }
  i64 first_row(i64 slice) const { return max(0, cells_.begin - slice * slice_cells()) / p_.grid_w; }
  i64 end_row(i64 slice) const { return ceil_div(min(slice_cells(), cells_.end - slice * slice_cells()), p_.grid_w); }
  i64 rows_of(i64 first, i64 end) const { return (end - first - 1) * row_step_ + halo_; }  // of the copy

  // Calls f(image, depth, first row, end of the rows) for the slices of the block, all of them the grid's.
  template <class F>
  JADRO_INLINE void for_slices(F f) const {
    const i64 begin = first_slice(), last = last_slice(), first = first_row(begin), end = end_row(last);
    i64 image = begin / p_.grid_d, depth = begin % p_.grid_d;
    for (i64 slice = begin; slice <= last; ++slice) {
      f(image, depth, slice == begin ? first : 0, slice == last ? end : p_.grid_h);
      if (++depth == p_.grid_d) depth = 0, ++image;
    }
  }

  template <class T>
  void fill(const T* src, Range channels, T* dst) const {
    const Columns columns{j_low_ * p_.step_w + w_min_, p_.step_w, phases_, phase_, phase_};
    const bool asks =
        p_.src_plane() * static_cast<i64>(sizeof(T)) > 1024;  // smaller planes are one run to the hardware
    for (i64 c = channels.begin; c < channels.end; ++c) {
      for (i64 tap = 0; tap < p_.depths; ++tap) {
        for_slices([&](i64 image, i64 depth, i64 first, i64 end) {
          const T* const volume = src + (image * p_.groups * p_.in + c) * p_.src_plane();
          const T* const plane = source_plane(p_, volume, depth * p_.step_d + p_.tap_d[tap]);
          // Rows that follow each other: all of them, where only one reaches a cell as many steps apart, or a cell's.
          const bool apart = row_step_ < p_.step_h, single = apart && halo_ == 1;
          const i64 rows = single ? end - first : apart ? halo_ : rows_of(first, end);
          const i64 last = apart && !single ? end : first + 1, step = single ? p_.step_h : 1;
          for (i64 i = first; i < last; ++i, dst += rows * pitch_) {
            const i64 top = i * p_.step_h + h_min_;
            for (i64 r = 0; asks && plane && c + 1 < channels.end && r < rows; ++r) {
              touch_row(plane + p_.src_plane(), top + r * step);
            }
            padded_rows(p_, plane, top, step, rows, columns, pitch_, dst);
          }
        });
      }
    }
  }

  // Asks for what will be read of the next channel's row h.
  template <class T>
  void touch_row(const T* source, i64 h) const {
    if (h < 0 || h >= p_.src_h) return;
    const i64 left = max(0, j_low_ * p_.step_w + w_min_), right = min(p_.src_w, left + columns_);
    for (i64 x = left; x < right; x += 64 / static_cast<i64>(sizeof(T))) {
      __builtin_prefetch(source + h * p_.src_w + x);
    }
  }

  const Conv2dPass& p_;
  Range cells_;
  bool in_place_;
  i64 h_min_, w_min_, j_low_, columns_, phases_, phase_, pitch_, halo_, row_step_, rows_, size_;
};

// Elements that the planes of `channels` channels can need for any block of `cells` cells.
JADRO_INLINE i64 conv2d_planes_bound(const Conv2dPass& p, i64 channels, i64 cells) {
  const i64 rows = min(p.n * p.grid_d * p.grid_h, (cells - 1) / p.grid_w + 2),
            slices = min(p.n * p.grid_d, (cells - 1) / (p.grid_h * p.grid_w) + 2);
  const i64 h_reach = p.reach_h.end - p.reach_h.begin + 1, w_reach = p.reach_w.end - p.reach_w.begin + 1;
  const i64 height = rows * min(p.step_h, h_reach) + slices * h_reach;
  const i64 width = (p.grid_w + w_reach / p.step_w + 1) * min(p.step_w, w_reach);
  return channels * p.depths * height * width;
}

}  // namespace
}  // namespace jadro
