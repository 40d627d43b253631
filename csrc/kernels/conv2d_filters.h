// Filters for the engine and for Winograd's transform, read where they stand in w: forward an outgoing channel's are
// one row; backward, where the channels change their roles, they lie apart.
#pragma once

#include "core/kernel_table.h"
#include "kernels/gemm.h"

namespace jadro {
namespace {

// dst[i][lane] = element i < length of row `lane` of `rows` <= kLanes, of the last row in the lanes above. Whole blocks
// of kLanes x kLanes are written.
template <class T>
void load_transposed(const T* a, i64 row, i64 rows, i64 length, T* dst) {
  constexpr int kN = kLanes<T>;
  for (i64 k = 0; k < length; k += kN) {
    Vec<T> block[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) block[i] = load_n(a + min(i, rows - 1) * row + k, min(kN, length - k));
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) store(dst + (k + i) * kN, block[i]);
  }
}

// dst[c][tap][rows] = `rows` <= kMr outgoing channels' filters of `channels` incoming ones, the first of both at w.
template <class T>
void pack_filters(const Conv2dPass& p, const T* w, i64 rows, i64 channels, T* dst) {
  constexpr i64 kN = kLanes<T>, kMostTaps = 64;
  if (p.filters_are_rows()) return pack_a(w, p.w_out, 1, rows, channels * p.taps, dst);
  if (p.taps == 0) return;
  if (p.w_taps == 1) return pack_a(w, p.w_out, p.w_in, rows, channels, dst);
  alignas(64) T filters[kMostTaps * kN];
  for (i64 c = 0; c < channels; ++c, w += p.w_in, dst += p.taps * rows) {
    if (p.w_taps > kMostTaps) {
      for (i64 t = 0; t < p.taps; ++t) {
        for (i64 r = 0; r < rows; ++r) dst[t * rows + r] = w[r * p.w_out + p.place[t]];
      }
      continue;
    }
    for (i64 r = 0; r < rows; r += kN) {
      const i64 count = min(kN, rows - r);
      load_transposed(w + r * p.w_out, p.w_out, count, p.w_taps, filters);
      for (i64 t = 0; t < p.taps; ++t) store_n(dst + t * rows + r, load(filters + p.place[t] * kN), count);
    }
  }
}

// One group's w in passes over the depth, each in panels of rows: the panels [panels].
template <class T>
void conv2d_pack(const Conv2dPass& p, const T* w, Range panels, T* packed) {
  const RowPanels rows(p.out);
  for (i64 c = 0; c < p.in; c += p.channels) {
    const i64 channels = min(p.channels, p.in - c), kc = channels * p.taps;
    for (i64 r = panels.begin; r < panels.end; ++r) {
      pack_filters(p, w + rows.start(r) * p.w_out + c * p.w_in, rows.size(r), channels,
                   packed + c * p.taps * p.out + rows.start(r) * kc);
    }
  }
}

}  // namespace
}  // namespace jadro
