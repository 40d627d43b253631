// Depthwise convolution straight from the rows of the image: a channel at a time, vectors along a row, the lanes that
// lie outside it masked away. No plane is copied. 3x3 kernels have a form of their own, which loads a row of the source
// once for all rows of a block that it reaches.
#pragma once

#include <type_traits>

#include "core/kernel_table.h"
#include "kernels/simd.h"

namespace jadro {
namespace {

constexpr int kRowsAtOnce = 4, kTapsAtOnce = 3, kRowBlock = 32;
constexpr i64 kAddends = 512;

// Taps of a pass in rows of `columns`, and the steps between its cells.
struct RowTaps {
  i64 rows, columns;
  const i64 *h, *w;

  explicit RowTaps(const Conv2dPass& p) : rows(0), columns(0), h(p.tap_h), w(p.tap_w) {
    while (columns < p.taps && h[columns] == h[0]) ++columns;
    if (columns > 0) rows = p.taps / columns;
  }
};

// Every kStep-th pixel of a row from column x on, for a vector of cells: zero outside [0, width).
template <class T, int kStep>
struct RowCells {
  i64 x = 0;
  LaneMask<T> first{}, second{};

  RowCells() = default;
  RowCells(i64 column, i64 width, i64 lanes)
      : x(column),
        first(lanes_between<T>(-x, min(width - x, kStep * lanes))),
        second(lanes_between<T>(-x - kLanes<T>, min(width - x, kStep * lanes) - kLanes<T>)) {}
  JADRO_INLINE Vec<T> operator()(const T* row) const {
    const T* const p = row + x;
    const Vec<T> a = load_lanes(p, first);
    if constexpr (kStep == 1) return a;
    return __builtin_shuffle(a, load_lanes(p + kLanes<T>, second), 2 * lane_numbers<T>());
  }
};

// acc[q] += the taps of kColumns columns, for a vector of cells in each of the rows i + q, q < rows, from column j on;
// up to kRowsAtOnce - 1 more are computed.
template <class T, int kStep, int kColumns>
void add_row_taps(const Conv2dPass& p, const RowTaps& all, i64 first, const T* plane, const T* w, i64 i, i64 rows,
                  i64 j, Vec<T>* acc) {
  const i64 height = p.src_h, width = p.src_w, step_h = p.step_h;
  const RowTaps taps = all;
  RowCells<T, kStep> cells[kColumns];
  for (int c = 0; c < kColumns; ++c) cells[c] = {j * kStep + taps.w[first + c], width, kLanes<T>};
  for (i64 q0 = 0; q0 < rows; q0 += kRowsAtOnce) {
    Vec<T> sum[kRowsAtOnce];
#pragma GCC unroll 4
    for (int q = 0; q < kRowsAtOnce; ++q) sum[q] = acc[q0 + q];
    for (i64 r = 0; r < taps.rows; ++r) {
      Vec<T> tap[kColumns];
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) tap[c] = broadcast(w[p.place[r * taps.columns + first + c]]);
      const i64 top = (i + q0) * step_h + taps.h[r * taps.columns];
      const T* row = plane + top * width;
#pragma GCC unroll 4
      for (int q = 0; q < kRowsAtOnce; ++q, row += step_h * width) {
        if (top + q * step_h >= 0 && top + q * step_h < height) {
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) sum[q] += tap[c] * cells[c](row);
        } else {  // zeros, times a tap that may be infinite
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) sum[q] += tap[c] * T(0);
        }
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < kRowsAtOnce; ++q) acc[q0 + q] = sum[q];
  }
}

template <class T>
using AddRowTaps = void (*)(const Conv2dPass&, const RowTaps&, i64, const T*, const T*, i64, i64, i64, Vec<T>*);
template <class T, int kStep>
AddRowTaps<T> add_row_taps_of(i64 columns) {
  return columns == 1   ? add_row_taps<T, kStep, 1>
         : columns == 2 ? add_row_taps<T, kStep, 2>
                        : add_row_taps<T, kStep, 3>;
}

// acc[q] = a vector of cells in each of `rows` <= kRowBlock rows.
template <class T>
void row_cells(const Conv2dPass& p, const RowTaps& taps, const T* plane, const T* w, i64 i, i64 rows, i64 j,
               Vec<T>* acc) {
  for (i64 q = 0; q < rows + kRowsAtOnce - 1; ++q) acc[q] = Vec<T>{};
  for (i64 c = 0; c < taps.columns; c += kTapsAtOnce) {
    const i64 columns = min(kTapsAtOnce, taps.columns - c);
    const auto add = p.step_w == 1 ? add_row_taps_of<T, 1>(columns) : add_row_taps_of<T, 2>(columns);
    add(p, taps, c, plane, w, i, rows, j, acc);
  }
}

// --- 3x3 kernels -------------------------------------------------------------------------------------------------

constexpr int kTall = kVectorBytes == 64 ? 7 : 4, kLow = 4;  // rows of a block, with the taps as many as registers hold

// Taps that are 3 x 3 neighbours: tap t stands at place[t] in rows from (top, left) on, the first from a cell's own
// place.
struct ThreeByThree {
  bool applies;
  i64 top = 0, left = 0, place[9] = {};

  explicit ThreeByThree(const Conv2dPass& p) {
    const RowTaps taps(p);
    const auto neighbours = [](i64 distance) { return distance == 1 || distance == -1; };
    applies = taps.rows == 3 && taps.columns == 3 && p.step_h == p.step_w && p.dst_step_w == 1 &&
              neighbours(p.tap_h[3] - p.tap_h[0]) && neighbours(p.tap_w[1] - p.tap_w[0]);
    if (!applies) return;
    top = min(p.tap_h[0], p.tap_h[8]), left = min(p.tap_w[0], p.tap_w[8]);
    for (i64 t = 0; t < 9; ++t) place[t] = (p.tap_h[t] - top) * 3 + p.tap_w[t] - left;
  }
};

template <class T>
alignas(64) constexpr T kZeroRow[4 * kLanes<T>] = {};

// Row r of the source from column x on, `first` being row 0; zeros outside the image.
template <class T>
struct SourceRows {
  const T* first;
  i64 width, height, top;
  SourceRows(const Conv2dPass& p, const T* plane, i64 top_row, i64 x)
      : first(plane + x), width(p.src_w), height(p.src_h), top(top_row) {}
  JADRO_INLINE const T* operator()(i64 r) const {
    return static_cast<u64>(top + r) < static_cast<u64>(height) ? first + (top + r) * width : kZeroRow<T>;
  }
};

// Three neighbouring columns of a row for a vector of cells, the first at column x: zero outside [0, width), and in
// cells beyond the first `lanes`.
template <class T, int kStep>
struct ThreeColumns {
  LaneMask<T> mask[3], second[3];
  ThreeColumns(i64 x, i64 width, i64 lanes) {
    for (i64 c = 0; c < 3; ++c) {
      const i64 end = min(width - x - c, kStep * lanes);
      mask[c] = lanes_between<T>(-x - c, end);
      second[c] = lanes_between<T>(-x - c - kLanes<T>, end - kLanes<T>);
    }
  }
  JADRO_INLINE void operator()(const T* at, Vec<T>* x) const {
    if constexpr (kStep == 1) {
#pragma GCC unroll 4
      for (int c = 0; c < 3; ++c) x[c] = load_lanes(at + c, mask[c]);
    } else {
      const VecInt<T> even = 2 * lane_numbers<T>();
      const Vec<T> a = load_lanes(at, mask[0]), b = load_lanes(at + kLanes<T>, second[0]);
      x[0] = __builtin_shuffle(a, b, even);
      x[1] = __builtin_shuffle(a, b, even + 1);
      x[2] = __builtin_shuffle(load_lanes(at + 2, mask[2]), load_lanes(at + 2 + kLanes<T>, second[2]), even);
    }
  }
};

// f(q, k, x): row q of a block meets tap k, whose cells are x, for all of both, every row of the source loaded once.
template <class T, int kStep, int kBlock, class F>
JADRO_INLINE void for_three_by_three(const SourceRows<T>& rows, const ThreeColumns<T, kStep>& columns, F f) {
#pragma GCC unroll 16
  for (int r = 0; r < kStep * (kBlock - 1) + 3; ++r) {
    Vec<T> x[3];
    columns(rows(r), x);
#pragma GCC unroll 8
    for (int q = 0; q < kBlock; ++q) {
      const int row = r - kStep * q;
      if (row < 0 || row > 2) continue;
#pragma GCC unroll 4
      for (int c = 0; c < 3; ++c) f(q, row * 3 + c, x[c]);
    }
  }
}

// put(place, cells, count) for the cells of a plane; taps by their places.
template <class T, int kStep, int kBlock, class Put>
void three_by_three_plane(const Conv2dPass& p, const ThreeByThree& three, const T* plane, const T* taps, Put put) {
  Vec<T> tap[9];
  for (int k = 0; k < 9; ++k) tap[k] = broadcast(taps[k]);
  for (i64 j = 0; j < p.grid_w; j += kLanes<T>) {
    const i64 x = j * kStep + three.left;
    const ThreeColumns<T, kStep> columns(x, p.src_w, kLanes<T>);
    for (i64 i = 0; i < p.grid_h; i += kBlock) {
      Vec<T> acc[kBlock] = {};
      for_three_by_three<T, kStep, kBlock>(SourceRows<T>(p, plane, i * kStep + three.top, x), columns,
                                           [&](int q, int k, Vec<T> cells) { acc[q] += tap[k] * cells; });
#pragma GCC unroll 8
      for (int q = 0; q < kBlock; ++q) {
        if (i + q < p.grid_h) put((i + q) * p.dst_w + j, acc[q], min(kLanes<T>, p.dst_w - j));
      }
    }
  }
}
template <class T, class Put>
void three_by_three_plane(const Conv2dPass& p, const ThreeByThree& three, const T* plane, const T* w, Put put) {
  T taps[9];
  for (int t = 0; t < 9; ++t) taps[three.place[t]] = w[p.place[t]];
  const auto computed = [&](i64 block) { return ceil_div(p.grid_h, block) * block; };
  const auto f = computed(kTall) <= computed(kLow)
                     ? p.step_w == 1 ? three_by_three_plane<T, 1, kTall, Put> : three_by_three_plane<T, 2, kTall, Put>
                 : p.step_w == 1 ? three_by_three_plane<T, 1, kLow, Put>
                                 : three_by_three_plane<T, 2, kLow, Put>;
  f(p, three, plane, taps, put);
}

// sums[place] += the products of dy with x a tap on, over all rows of the grid, for a vector of columns from j on.
template <class T, int kStep>
void three_by_three_products(const Conv2dPass& p, const ThreeByThree& three, const T* plane, const T* dy, i64 j,
                             Vec<T>* sums) {
  const i64 lanes = min(kLanes<T>, p.grid_w - j), x = j * kStep + three.left;
  const LaneMask<T> there = lanes_between<T>(0, lanes);
  const ThreeColumns<T, kStep> columns(x, p.src_w, lanes);  // x in lanes without dy may be infinite
  Vec<T> acc[9];
  for (int k = 0; k < 9; ++k) acc[k] = sums[k];
  const auto add = [&](auto kBlock, i64 i) {
    Vec<T> d[kBlock.value];
#pragma GCC unroll 8
    for (int q = 0; q < kBlock.value; ++q) d[q] = load_lanes(dy + (i + q) * p.grid_w + j, there);
    for_three_by_three<T, kStep, kBlock.value>(SourceRows<T>(p, plane, i * kStep + three.top, x), columns,
                                               [&](int q, int k, Vec<T> cells) { acc[k] += d[q] * cells; });
  };
  i64 i = 0;
  for (; i + kTall <= p.grid_h; i += kTall) add(std::integral_constant<int, kTall>{}, i);
  for (; i < p.grid_h; ++i) add(std::integral_constant<int, 1>{}, i);
  for (int k = 0; k < 9; ++k) sums[k] = acc[k];
}

// --- forward, and the gradient of the data -----------------------------------------------------------------------

// The planes [items] of (image, channel). With count == 2 the products are the phases of a row, in order, on one grid;
// w as it stands; one channel comes into each group.
template <class T>
void conv2d_rows(const Conv2dProduct<T>* phases, i64 count, Range items) {
  const Conv2dPass& p = phases[0].pass;
  const Conv2dEpilogue<T>& e = phases[0].epilogue;
  const RowTaps taps[2] = {RowTaps(p), RowTaps(phases[count - 1].pass)};
  const ThreeByThree three(p);
  const VecInt<T> low = lane_numbers<T>() / 2 + (lane_numbers<T>() & 1) * kLanes<T>, high = low + kLanes<T> / 2;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % (p.groups * p.out);
    const T* const plane = phases[0].src + item / p.out * p.src_h * p.src_w;
    const T* const w = phases[0].w + channel / p.out * p.w_group + channel % p.out * p.w_out;
    const T bias = e.bias ? e.bias[channel] : T(0), scale = e.scale ? e.scale[channel] : T(1);
    const i64 start = item * p.dst_h * p.dst_w;
    const auto put = [&](i64 at, Vec<T> v, i64 lanes) {
      v = v * scale + bias;
      if (e.add) v += load_n(e.add + at, lanes);
      if (e.relu) v = v < T(0) ? Vec<T>{} : v;
      store_n(phases[0].dst + at, v, lanes);
    };
    if (three.applies) {
      three_by_three_plane(p, three, plane, w, [&](i64 at, Vec<T> v, i64 lanes) { put(start + at, v, lanes); });
      continue;
    }
    for (i64 j = 0; j < p.grid_w; j += kLanes<T>) {
      for (i64 i = 0; i < p.grid_h; i += kRowBlock) {
        const i64 rows = min(kRowBlock, p.grid_h - i);
        Vec<T> acc[2][kRowBlock + kRowsAtOnce - 1];
        for (i64 f = 0; f < count; ++f) {
          const Conv2dPass& phase = phases[f].pass;
          row_cells(phase, taps[f], plane, w, i, rows, j, acc[f]);
        }
        const i64 lanes = p.dst_w - j * count;
        for (i64 q = 0; q < rows; ++q) {
          const i64 at = start + ((i + q) * p.dst_step_h + p.dst_h0) * p.dst_w + j * count;
          if (count == 1) {
            put(at, acc[0][q], min(kLanes<T>, lanes));
            continue;
          }
          put(at, __builtin_shuffle(acc[0][q], acc[1][q], low), min(kLanes<T>, lanes));
          if (lanes > kLanes<T>) {
            put(at + kLanes<T>, __builtin_shuffle(acc[0][q], acc[1][q], high), min(kLanes<T>, lanes - kLanes<T>));
          }
        }
      }
    }
  }
}

// --- the gradient of the weight ----------------------------------------------------------------------------------

// acc[r][c] += the products of dy with x a tap on, over all rows of the grid, for a vector of columns from j on.
template <class T, int kStep, int kColumns>
void add_row_products(const Conv2dPass& p, const RowTaps& taps, i64 row, i64 column, const T* plane, const T* dy, i64 j,
                      Vec<T>* sums) {
  const i64 height = p.src_h, width = p.src_w, step_h = p.step_h, grid_w = p.grid_w, grid_h = p.grid_h;
  const i64 lanes = min(kLanes<T>, p.grid_w - j);  // x in lanes without dy is masked too: it may be infinite
  const LaneMask<T> there = lanes_between<T>(0, lanes);
  RowCells<T, kStep> cells[kColumns];
  for (int c = 0; c < kColumns; ++c) cells[c] = {j * kStep + taps.w[column + c], p.src_w, lanes};
  Vec<T> acc[kTapsAtOnce][kColumns];
  for (int k = 0; k < kTapsAtOnce * kColumns; ++k) acc[k / kColumns][k % kColumns] = sums[k];
  i64 tap_h[kTapsAtOnce];
  for (i64 r = 0; r < kTapsAtOnce; ++r) tap_h[r] = taps.h[min(row + r, taps.rows - 1) * taps.columns];
  for (i64 i = 0; i < grid_h; ++i) {
    const T* const from = dy + i * grid_w + j;
    const Vec<T> d = load_lanes(from, there);
#pragma GCC unroll 4
    for (int r = 0; r < kTapsAtOnce; ++r) {
      const i64 h = i * step_h + tap_h[r];
      if (h < 0 || h >= height) continue;
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) acc[r][c] += d * cells[c](plane + h * width);
    }
  }
  for (int k = 0; k < kTapsAtOnce * kColumns; ++k) sums[k] = acc[k / kColumns][k % kColumns];
}

template <class T>
using AddRowProducts = void (*)(const Conv2dPass&, const RowTaps&, i64, i64, const T*, const T*, i64, Vec<T>*);
template <class T, int kStep>
AddRowProducts<T> add_row_products_of(i64 columns) {
  return columns == 1   ? add_row_products<T, kStep, 1>
         : columns == 2 ? add_row_products<T, kStep, 2>
                        : add_row_products<T, kStep, 3>;
}

// dw of the channels [channels], image by image; vectors add up some kAddends products before they are summed exactly.
template <class T>
void conv2d_rows_weight(const Conv2dWeight<T>& a, Range channels) {
  const Conv2dPass& p = a.pass;
  const RowTaps taps(p);
  const ThreeByThree three(p);
  for (i64 channel = channels.begin; channel < channels.end; ++channel) {
    for (i64 block = 0; block < ceil_div(taps.rows, kTapsAtOnce) * ceil_div(taps.columns, kTapsAtOnce); ++block) {
      const i64 across = ceil_div(taps.columns, kTapsAtOnce), row = block / across * kTapsAtOnce;
      const i64 column = block % across * kTapsAtOnce, columns = min(kTapsAtOnce, taps.columns - column);
      double total[kTapsAtOnce * kTapsAtOnce] = {};
      Vec<T> sums[kTapsAtOnce * kTapsAtOnce] = {};
      i64 added = 0;
      for (i64 n = 0; n < p.n; ++n) {
        const i64 item = n * p.groups * p.out + channel;
        const T* const plane = a.src + item / p.out * p.src_h * p.src_w;
        const T* const dy = a.dy + item * p.grid_h * p.grid_w;
        for (i64 j = 0; j < p.grid_w; j += kLanes<T>) {
          if (three.applies) {
            const auto add = p.step_w == 1 ? three_by_three_products<T, 1> : three_by_three_products<T, 2>;
            add(p, three, plane, dy, j, sums);
            continue;
          }
          const auto add = p.step_w == 1 ? add_row_products_of<T, 1>(columns) : add_row_products_of<T, 2>(columns);
          add(p, taps, row, column, plane, dy, j, sums);
        }
        added += p.grid_h * ceil_div(p.grid_w, kLanes<T>);
        if (added < kAddends && n + 1 < p.n) continue;
        for (i64 k = 0; k < kTapsAtOnce * columns; ++k) {
          total[k] += sum_lanes<T>(sums[k]);
          sums[k] = Vec<T>{};
        }
        added = 0;
      }
      for (i64 r = 0; r < min(kTapsAtOnce, taps.rows - row); ++r) {
        for (i64 c = 0; c < columns; ++c) {
          const i64 tap = (row + r) * taps.columns + column + c;
          a.dw[channel * p.taps + tap] = static_cast<T>(total[three.applies ? three.place[tap] : r * columns + c]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace jadro
