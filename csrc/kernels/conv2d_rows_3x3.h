// Depthwise convolution with 3x3 kernels straight from the rows of the image: a row of the source is loaded once for
// all rows of a block that it reaches.
#pragma once

#include <type_traits>

#include "core/kernel_table.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

constexpr int kTall = kVectorBytes == 64 ? 7 : 4, kLow = 4;  // rows of a block, with the taps as many as registers hold

// Taps that are K x K neighbours, from (top, left) on seen from a cell's own place: the one at place[k] of a filter
// stands k-th of these in rows.
template <int K>
struct Square {
  static constexpr int kTaps = K * K;
  bool applies;
  i64 top = 0, left = 0, place[kTaps] = {}, tap[kTaps] = {};

  explicit Square(const Conv2dPass& p) : applies(p.taps == kTaps && p.dst_step_h == 1 && p.dst_step_w == 1) {
    if (!applies) return;
    top = min(p.tap_h[0], p.tap_h[kTaps - 1]), left = min(p.tap_w[0], p.tap_w[kTaps - 1]);
    u64 found = 0;
    for (i64 t = 0; t < kTaps; ++t) {
      const i64 h = p.tap_h[t] - top, w = p.tap_w[t] - left;
      if (h < 0 || h >= K || w < 0 || w >= K) continue;
      place[h * K + w] = p.place[t], tap[h * K + w] = t;
      found |= u64{1} << (h * K + w);
    }
    applies = found == (u64{1} << kTaps) - 1 && p.step_h == p.step_w;
  }
};
using ThreeByThree = Square<3>;

template <class T>
alignas(64) constexpr T kZeroRow[4 * kLanes<T>] = {};

// Rows top, top + 1, ... of a plane from column x on; zeros outside it.
template <class T, int kRows>
class SourceRows {
 public:
  SourceRows(const Conv2dPass& p, const T* plane, i64 top) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const bool inside = static_cast<u64>(top + r) < static_cast<u64>(p.src_h);
      row_[r] = inside ? plane + (top + r) * p.src_w : kZeroRow<T>;
      columns_[r] = inside ? -1 : 0;
    }
  }
  JADRO_INLINE const T* operator()(int r, i64 x) const { return row_[r] + (x & columns_[r]); }

 private:
  const T* row_[kRows];
  i64 columns_[kRows];
};

// Three neighbouring columns of a row for a vector of cells, the first at column x: zero outside [0, width), and in
// cells beyond the first `lanes`.
template <class T, int kStep>
struct ThreeColumns {
  i64 x = 0;
  LaneMask<T> mask[3]{}, second[3]{};

  ThreeColumns() = default;
  ThreeColumns(i64 first, i64 width, i64 lanes) : x(first) {
    for (i64 c = 0; c < 3; ++c) {
      const i64 end = min(width - x - c, kStep * lanes);
      mask[c] = lanes_between<T>(-x - c, end);
      second[c] = lanes_between<T>(-x - c - kLanes<T>, end - kLanes<T>);
    }
  }
  JADRO_INLINE void operator()(const T* at, Vec<T>* cells) const {
    if constexpr (kStep == 1) {
#pragma GCC unroll 4
      for (int c = 0; c < 3; ++c) cells[c] = load_lanes(at + c, mask[c]);
    } else {
      const VecInt<T> even = 2 * lane_numbers<T>();
      const Vec<T> a = load_lanes(at, mask[0]), b = load_lanes(at + kLanes<T>, second[0]);
      cells[0] = __builtin_shuffle(a, b, even);
      cells[1] = __builtin_shuffle(a, b, even + 1);
      cells[2] = __builtin_shuffle(load_lanes(at + 2, mask[2]), load_lanes(at + 2 + kLanes<T>, second[2]), even);
    }
  }
};

// The columns of kVectors vectors of cells, from cell j on: the same for all rows and planes.
template <class T, int kStep>
struct CellColumns {
  static constexpr i64 kVectors = 8;
  i64 begin = 0, end = 0;
  ThreeColumns<T, kStep> vectors[kVectors];

  JADRO_INLINE void set(const Conv2dPass& p, i64 left, i64 j) {
    if (j == begin && end > 0) return;
    begin = j, end = min(p.grid_w, j + kVectors * kLanes<T>);
    for_vectors<T>(end - j,
                   [&](i64 i, i64 lanes) { vectors[i / kLanes<T>] = {(j + i) * kStep + left, p.src_w, lanes}; });
  }
};

// f(q, k, x): row q of a block meets tap k, whose cells are x, for all of both, every row of the source loaded once.
template <int kStep, int kBlock>
constexpr int kBlockRows = kStep * (kBlock - 1) + 3;
template <class T, int kStep, int kBlock, class F>
JADRO_INLINE void for_three_by_three(const SourceRows<T, kBlockRows<kStep, kBlock>>& rows,
                                     const ThreeColumns<T, kStep>& columns, F f) {
#pragma GCC unroll 16
  for (int r = 0; r < kBlockRows<kStep, kBlock>; ++r) {
    Vec<T> x[3];
    columns(rows(r, columns.x), x);
#pragma GCC unroll 8
    for (int q = 0; q < kBlock; ++q) {
      const int row = r - kStep * q;
      if (row < 0 || row > 2) continue;
#pragma GCC unroll 4
      for (int c = 0; c < 3; ++c) f(q, row * 3 + c, x[c]);
    }
  }
}

// Results of one plane, number `item` of (image, channel), through the epilogue.
template <class T>
class PlaneStore {
 public:
  PlaneStore(const Conv2dProduct<T>& a, i64 item, i64 channel)
      : bias_(a.epilogue.bias ? a.epilogue.bias[channel] : T(0)),
        scale_(a.epilogue.scale ? a.epilogue.scale[channel] : T(1)),
        add_(a.epilogue.add ? a.epilogue.add + item * a.pass.dst_plane() : nullptr),
        rectifier_(a.epilogue.rectifier),
        channel_(channel),
        dst_(a.dst + item * a.pass.dst_plane()) {}
  JADRO_INLINE T* at(i64 pixel) const { return dst_ + pixel; }
  JADRO_INLINE void operator()(i64 pixel, Vec<T> v, i64 count) const {
    v = v * scale_ + bias_;
    if (add_) v += load_n(add_ + pixel, count);
    store_n(dst_ + pixel, rectified(rectifier_, channel_, v), count);
  }

 private:
  T bias_, scale_;
  const T* add_;
  const Rectifier<T> rectifier_;
  i64 channel_;
  T* dst_;
};

// Asks for what a vector of cells will need of the next kRows rows.
template <int kRows, bool kWrite, class T>
JADRO_INLINE void touch_rows(const T* at, i64 pitch) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(at + r * pitch, kWrite);
}

// The planes [items] of (image, channel); one channel comes into each group.
template <class T, int kStep, int kBlock>
void three_by_three(const Conv2dProduct<T>& a, const ThreeByThree& three, Range items) {
  const Conv2dPass& p = a.pass;
  const i64 channels = p.groups * p.out, src_w = p.src_w, height = p.grid_h, width = p.dst_w;
  CellColumns<T, kStep> columns;
  i64 channel = items.begin % channels;
  for (i64 item = items.begin; item < items.end; ++item, channel = channel + 1 < channels ? channel + 1 : 0) {
    const T* const plane = a.src + (p.out == 1 ? item : item / p.out) * p.src_h * src_w;
    const PlaneStore<T> put(a, item, channel);
    Vec<T> tap[9];
    for (int k = 0; k < 9; ++k) tap[k] = broadcast(a.w[channel * p.w_out + three.place[k]]);
    for (i64 j = 0; j < width; j = columns.end) {
      columns.set(p, three.left, j);
      for (i64 i = 0; i < height; i += kBlock) {
        const SourceRows<T, kBlockRows<kStep, kBlock>> rows(p, plane, i * kStep + three.top);
        for_vectors<T>(columns.end - j, [&](i64 x, i64 lanes) {
          const i64 at = i * width + j + x;
          touch_rows<kStep * kBlock, false>(plane + (i + kBlock + 1) * kStep * src_w + (j + x) * kStep, src_w);
          touch_rows<kBlock, true>(put.at(at + kBlock * width), width);
          Vec<T> acc[kBlock] = {};
          for_three_by_three<T, kStep, kBlock>(rows, columns.vectors[x / kLanes<T>],
                                               [&](int q, int k, Vec<T> cells) { acc[q] += tap[k] * cells; });
#pragma GCC unroll 8
          for (int q = 0; q < kBlock; ++q) {
            // Below the plane no lane: a branch here would part the sums from their loads.
            put(at + q * width, acc[q], i + q < height ? lanes : 0);
          }
        });
      }
    }
  }
}
template <class T>
void three_by_three(const Conv2dProduct<T>& a, const ThreeByThree& three, Range items) {
  const i64 rows = a.pass.grid_h, step = a.pass.step_w;
  const bool tall = ceil_div(rows, kTall) * kTall <= ceil_div(rows, kLow) * kLow;
  const auto f = tall        ? step == 1 ? three_by_three<T, 1, kTall> : three_by_three<T, 2, kTall>
                 : step == 1 ? three_by_three<T, 1, kLow>
                             : three_by_three<T, 2, kLow>;
  f(a, three, items);
}

// --- the gradient of the data, stride 2 ------------------------------------------------------------------------------

// Of the two phases of an axis one is reached by a single tap, the other by two, from neighbouring cells.
// place[row][column] are those of the single (0) or the double (1) phase of rows and of columns.
struct StridedThreeByThree {
  i64 top, left, single_row, single_column;  // phases
  i64 row_of_single = 0, column_of_single = 0;
  i64 place[2][2][4] = {};  // of the tap that meets cell (top + k / 2, left + k % 2)

  // The phases (0, 0) (0, 1) (1, 0) (1, 1) of rows and columns.
  template <class T>
  explicit StridedThreeByThree(const Conv2dProduct<T>* phases)
      : top(phases[0].pass.tap_h[0]),
        left(phases[0].pass.tap_w[0]),
        single_row(phases[0].pass.taps < phases[2].pass.taps ? 0 : 1),
        single_column(phases[0].pass.taps < phases[1].pass.taps ? 0 : 1) {
    for (int f = 0; f < 4; ++f) {
      const Conv2dPass& p = phases[f].pass;
      for (i64 t = 0; t < p.taps; ++t) top = min(top, p.tap_h[t]), left = min(left, p.tap_w[t]);
    }
    for (int f = 0; f < 4; ++f) {
      const Conv2dPass& p = phases[f].pass;
      const i64 row = f / 2 != single_row, column = f % 2 != single_column;
      for (i64 t = 0; t < p.taps; ++t) {
        const i64 h = p.tap_h[t] - top, w = p.tap_w[t] - left;
        place[row][column][2 * h + w] = p.place[t];
        if (row == 0) row_of_single = h;
        if (column == 0) column_of_single = w;
      }
    }
  }
};

// The planes [items] of (image, channel) from the four phases.
template <class T>
void strided_three_by_three(const Conv2dProduct<T>* phases, Range items) {
  constexpr int kN = kLanes<T>, kBlock = kLow;
  const Conv2dProduct<T>& a = phases[0];
  const Conv2dPass& p = a.pass;
  const StridedThreeByThree three(phases);
  const i64 channels = p.groups * p.out, src_w = p.src_w, height = p.dst_h, width = p.dst_w;
  const bool lower = three.row_of_single, right = three.column_of_single;
  const VecInt<T> odd = lane_numbers<T>() & 1, second = three.single_column ? 1 - odd : odd;
  const VecInt<T> low = lane_numbers<T>() / 2 + second * kN, high = low + kN / 2;
  CellColumns<T, 1> columns;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % channels;
    const T* const plane = a.src + (p.out == 1 ? item : item / p.out) * p.src_h * src_w;
    const PlaneStore<T> put(a, item, channel);
    Vec<T> tap[2][2][4];
    for (int k = 0; k < 16; ++k) {
      tap[k / 8][k / 4 % 2][k % 4] = broadcast(a.w[channel * p.w_out + three.place[k / 8][k / 4 % 2][k % 4]]);
    }
    const Vec<T>* const once = tap[0][0] + 2 * lower + right;
    const Vec<T>* const across = tap[0][1] + 2 * lower;
    const Vec<T>* const down = tap[1][0] + right;
    const Vec<T>* const all = tap[1][1];
    for (i64 j = 0; j < p.grid_w; j = columns.end) {
      columns.set(p, three.left, j);
      for (i64 i = 0; i < p.grid_h; i += kBlock) {
        const SourceRows<T, kBlock + 1> rows(p, plane, i + three.top);
        for_vectors<T>(columns.end - j, [&](i64 x, i64) {
          const i64 at = 2 * i * width + 2 * (j + x), lanes = width - 2 * (j + x);
          touch_rows<kBlock, false>(plane + (i + kBlock + 1) * src_w + j + x, src_w);
          touch_rows<2 * kBlock, true>(put.at(at + 2 * kBlock * width), width);
          const ThreeColumns<T, 1>& c = columns.vectors[x / kN];
          const auto load_row = [&](int r, Vec<T>* cells) {
            for (int k = 0; k < 2; ++k) cells[k] = load_lanes(rows(r, c.x) + k, c.mask[k]);
          };
          Vec<T> above[2], below[2];
          load_row(0, above);
#pragma GCC unroll 8
          for (int q = 0; q < kBlock; ++q) {
            load_row(q + 1, below);
            const Vec<T>* const row = lower ? below : above;
            const Vec<T> alone[2] = {above[right], below[right]};
            const Vec<T> outputs[2][2] = {
                {once[0] * row[right], across[0] * row[0] + across[1] * row[1]},
                {down[0] * alone[0] + down[2] * alone[1],
                 all[0] * above[0] + all[1] * above[1] + all[2] * below[0] + all[3] * below[1]}};
            for (int phase = 0; phase < 2; ++phase) {
              const Vec<T>* const out = outputs[phase != three.single_row];
              const i64 to = at + (2 * q + phase) * width, count = 2 * (i + q) + phase < height ? lanes : 0;
              put(to, __builtin_shuffle(out[0], out[1], low), min(i64{kN}, count));
              if (count > kN) put(to + kN, __builtin_shuffle(out[0], out[1], high), min(i64{kN}, count - kN));
            }
            above[0] = below[0], above[1] = below[1];
          }
        });
      }
    }
  }
}

// --- the gradient of the weight --------------------------------------------------------------------------------------

// sums[k] += the products of dy with x a tap on, over all cells of the grid.
template <class T, int kStep>
void three_by_three_products(const Conv2dPass& p, const ThreeByThree& three, CellColumns<T, kStep>& columns,
                             const T* plane, const T* dy, Vec<T>* sums) {
  Vec<T> acc[9];
  for (int k = 0; k < 9; ++k) acc[k] = sums[k];
  for (i64 j = 0; j < p.grid_w; j = columns.end) {
    columns.set(p, three.left, j);
    const auto add = [&](auto kBlock, i64 i) {
      const SourceRows<T, kBlockRows<kStep, kBlock.value>> rows(p, plane, i * kStep + three.top);
      for_vectors<T>(columns.end - j, [&](i64 x, i64 lanes) {
        const LaneMask<T> there = lanes_between<T>(0, lanes);
        const i64 at = j + x, next = i + kBlock.value;
        touch_rows<kStep * kBlock.value, false>(plane + (next + 1) * kStep * p.src_w + at * kStep, p.src_w);
        touch_rows<kBlock.value, false>(dy + next * p.grid_w + at, p.grid_w);
        Vec<T> d[kBlock.value];
#pragma GCC unroll 8
        for (int q = 0; q < kBlock.value; ++q) d[q] = load_lanes(dy + (i + q) * p.grid_w + at, there);
        for_three_by_three<T, kStep, kBlock.value>(rows, columns.vectors[x / kLanes<T>],
                                                   [&](int q, int k, Vec<T> cells) { acc[k] += d[q] * cells; });
      });
    };
    i64 i = 0;
    for (; i + kTall <= p.grid_h; i += kTall) add(std::integral_constant<int, kTall>{}, i);
    for (; i < p.grid_h; ++i) add(std::integral_constant<int, 1>{}, i);
  }
  for (int k = 0; k < 9; ++k) sums[k] = acc[k];
}

}  // namespace
}  // namespace jadro
