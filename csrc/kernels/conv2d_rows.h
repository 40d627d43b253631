// Depthwise convolution straight from the rows of the image: a channel at a time, vectors along a row, the lanes that
// lie outside it masked away. No plane is copied.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_rows_square.h"

namespace jadro {
namespace {

constexpr int kRowsAtOnce = 4, kTapsAtOnce = 3, kRowBlock = 32;

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

// --- forward, and the gradient of the data -----------------------------------------------------------------------

// Planes of one row, several vectors of it at a time.
template <class T, int kStep>
void conv2d_one_row(const Conv2dProduct<T>& a, Range items) {
  constexpr i64 kN = kLanes<T>, kAtOnce = 4;
  const Conv2dPass& p = a.pass;
  const i64 left = p.reach_w.begin, right = p.reach_w.end, start = p.dst_h0 * p.dst_w;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % (p.groups * p.out);
    const T* const row = a.src + (item / p.out * p.src_h + p.tap_h[0]) * p.src_w;
    const T* const w = a.w + channel * p.w_out;
    const PlaneStore<T> put(a, item, channel);
    for (i64 j = 0; j < p.grid_w; j += kAtOnce * kN) {
      Vec<T> acc[kAtOnce] = {};
      const i64 x = j * kStep;
      if (x + left >= 0 && x + right + kAtOnce * kStep * kN <= p.src_w) {
        for (i64 t = 0; t < p.taps; ++t) {
          const Vec<T> tap = broadcast(w[p.place[t]]);
          const T* const from = row + x + p.tap_w[t];
#pragma GCC unroll 4
          for (int q = 0; q < kAtOnce; ++q) {
            Vec<T> v = load(from + q * kStep * kN);
            if constexpr (kStep == 2) {
              v = __builtin_shuffle(v, load(from + (2 * q + 1) * kN), 2 * lane_numbers<T>());
            }
            acc[q] += tap * v;
          }
        }
      } else {
        for (i64 t = 0; t < p.taps; ++t) {
          const Vec<T> tap = broadcast(w[p.place[t]]);
          for (i64 q = 0; q < kAtOnce; ++q) {
            acc[q] += tap * RowCells<T, kStep>(x + q * kStep * kN + p.tap_w[t], p.src_w, kN)(row);
          }
        }
      }
      for (i64 q = 0; q < kAtOnce && j + q * kN < p.grid_w; ++q) {
        put(start + j + q * kN, acc[q], min(kN, p.grid_w - j - q * kN));
      }
    }
  }
}

// The planes [items] of (image, channel). With count == 2 the products are the phases of a row, in order, on one grid;
// with 4 those of rows and columns of a 3x3 kernel of stride 2; one channel comes into each group.
template <class T>
void conv2d_rows(const Conv2dProduct<T>* phases, i64 count, Range items) {
  if (count == 4) return strided_three_by_three(phases, items);
  const Conv2dPass& p = phases[0].pass;
  const RowTaps taps[2] = {RowTaps(p), RowTaps(phases[count - 1].pass)};
  if (const ThreeByThree<T> three(p); three.applies) return three_by_three(phases[0], three, items);
  if (count == 1 && conv2d_square(phases[0], items)) return;
  if (count == 1 && p.grid_h == 1 && taps[0].rows == 1 && p.tap_h[0] >= 0 && p.tap_h[0] < p.src_h) {
    return p.step_w == 1 ? conv2d_one_row<T, 1>(phases[0], items) : conv2d_one_row<T, 2>(phases[0], items);
  }
  const VecInt<T> low = lane_numbers<T>() / 2 + (lane_numbers<T>() & 1) * kLanes<T>, high = low + kLanes<T> / 2;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % (p.groups * p.out);
    const T* const plane = phases[0].src + item / p.out * p.src_h * p.src_w;
    const T* const w = phases[0].w + channel * p.w_out;
    const PlaneStore<T> put(phases[0], item, channel);
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
          const i64 at = ((i + q) * p.dst_step_h + p.dst_h0) * p.dst_w + j * count;
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

// dw of the channels [channels], image by image; vectors add up some kConv2dAddends products before they are summed
// exactly.
template <class T>
void conv2d_rows_weight(const Conv2dWeight<T>& a, Range channels) {
  const Conv2dPass& p = a.pass;
  const RowTaps taps(p);
  const ThreeByThree<T> three(p);
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
        if (three.applies) three_by_three_products(p, three, plane, dy, sums);
        for (i64 j = 0; !three.applies && j < p.grid_w; j += kLanes<T>) {
          const auto add = p.step_w == 1 ? add_row_products_of<T, 1>(columns) : add_row_products_of<T, 2>(columns);
          add(p, taps, row, column, plane, dy, j, sums);
        }
        added += p.grid_h * ceil_div(p.grid_w, kLanes<T>);
        if (added < kConv2dAddends && n + 1 < p.n) continue;
        for (i64 k = 0; k < kTapsAtOnce * columns; ++k) {
          total[k] += sum_lanes<T>(sums[k]);
          sums[k] = Vec<T>{};
        }
        added = 0;
      }
      for (i64 r = 0; r < min(kTapsAtOnce, taps.rows - row); ++r) {
        for (i64 c = 0; c < columns; ++c) {
          const i64 tap = (row + r) * taps.columns + column + c;
          a.dw[channel * p.taps + (three.applies ? three.tap[r * 3 + c] : tap)] =
              static_cast<T>(total[r * columns + c]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace jadro
