// Depthwise convolution with 5x5 and 7x7 kernels and stride 1 straight from the rows of the image, a column of taps at
// a time: a row of the source is loaded once for all rows of a block that it reaches.
#pragma once

#include "kernels/conv2d_rows_3x3.h"

namespace jadro {
namespace {

// kVectors vectors of cells, from cell `begin` of a row on, the row's last reaching back over the one before: the first
// cell of each, and which lanes see a pixel through each of K columns of taps.
template <class T, int K>
struct SquareColumns {
  static constexpr i64 kVectors = 8;
  i64 begin = 0, end = 0, count = 0, lanes = 0;
  i64 cell[kVectors];
  LaneMask<T> inside[kVectors][K];

  void set(const Conv2dPass& p, i64 left, i64 j) {
    if (j == begin && end > 0) return;
    begin = j, end = min(p.grid_w, j + kVectors * kLanes<T>);
    count = ceil_div(end - begin, kLanes<T>), lanes = min(kLanes<T>, p.grid_w);
    for (i64 v = 0; v < count; ++v) {
      cell[v] = min(j + v * kLanes<T>, p.grid_w - lanes);
      for (i64 c = 0; c < K; ++c) {
        const i64 x = cell[v] + left + c;
        inside[v][c] = lanes_between<T>(-x, min(p.src_w - x, lanes));
      }
    }
  }
};

// The planes [items] of (image, channel).
template <class T, int K>
void conv2d_square(const Conv2dProduct<T>& a, const Square<K>& square, Range items) {
  constexpr int kBlock = kVectorBytes == 64 ? 7 : 4;  // rows, with a column of taps as many as registers hold
  constexpr int kRows = kBlock + K - 1;
  const Conv2dPass& p = a.pass;
  const i64 height = p.grid_h, width = p.grid_w;
  SquareColumns<T, K> columns;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % (p.groups * p.out);
    const T* const plane = a.src + item / p.out * p.src_h * p.src_w;
    const PlaneStore<T> put(a, item, channel);
    T taps[K * K];
    for (int k = 0; k < K * K; ++k) taps[k] = a.w[channel * p.w_out + square.place[k]];
    for (i64 j = 0; j < width; j = columns.end) {
      columns.set(p, square.left, j);
      for (i64 i = 0; i < height; i += kBlock) {
        const SourceRows<T, kRows> rows(p, plane, i + square.top);
        for (i64 v = 0; v < columns.count; ++v) {
          const LaneMask<T>* const inside = columns.inside[v];
          const i64 x = columns.cell[v];
          touch_rows<kBlock, false>(plane + (i + kBlock + K / 2) * p.src_w + x, p.src_w);
          Vec<T> acc[kBlock] = {};
          for (int c = 0; c < K; ++c) {
            Vec<T> tap[K];
#pragma GCC unroll 7
            for (int k = 0; k < K; ++k) tap[k] = broadcast(taps[k * K + c]);
#pragma GCC unroll 16
            for (int r = 0; r < kRows; ++r) {
              const Vec<T> cells = load_lanes(rows(r, x + square.left + c), inside[c]);
#pragma GCC unroll 8
              for (int q = 0; q < kBlock; ++q) {
                if (q <= r && r < q + K) acc[q] += tap[r - q] * cells;
              }
            }
          }
#pragma GCC unroll 8
          for (int q = 0; q < kBlock; ++q) put((i + q) * width + x, acc[q], i + q < height ? columns.lanes : 0);
        }
      }
    }
  }
}

// False where the taps are no such square.
template <class T>
bool conv2d_square(const Conv2dProduct<T>& a, Range items) {
  if (a.pass.step_w != 1) return false;
  if (const Square<5> five(a.pass, 1); five.applies) return conv2d_square(a, five, items), true;
  if (const Square<7> seven(a.pass, 1); seven.applies) return conv2d_square(a, seven, items), true;
  return false;
}

}  // namespace
}  // namespace jadro
