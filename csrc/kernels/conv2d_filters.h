// Filters for the engine and for Winograd's transform, read where they stand in w: forward an outgoing channel's are
// one row; backward, where the channels change their roles, they lie apart.
#pragma once

#include "core/kernel_table.h"
#include "kernels/gemm.h"

namespace jadro {
namespace {

// dst[i * pitch + lane] = element i < length of row `lane` of `rows` <= kLanes, of the last row in the lanes above.
// Whole blocks of kLanes x kLanes are written.
template <class T>
void load_transposed(const T* a, i64 row, i64 rows, i64 length, i64 pitch, T* dst) {
  constexpr int kN = kLanes<T>;
  for (i64 k = 0; k < length; k += kN) {
    Vec<T> block[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) block[i] = load_n(a + min(i, rows - 1) * row + k, min(kN, length - k));
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) store(dst + (k + i) * pitch, block[i]);
  }
}

// dst[c][tap][pitch] = the filters of `outs` outgoing and `channels` incoming channels, the first of both at w: kernel
// by kernel.
template <class T>
void pack_kernels(const Conv2dPass& p, const T* w, i64 outs, i64 channels, i64 pitch, T* dst) {
  constexpr i64 kN = kLanes<T>, kMostTaps = 64;
  alignas(64) T kernels[kMostTaps * kN];
  for (i64 c = 0; c < channels; ++c, w += p.w_in, dst += p.taps * pitch) {
    if (p.w_taps > kMostTaps) {
      for (i64 t = 0; t < p.taps; ++t) {
        for (i64 o = 0; o < outs; ++o) dst[t * pitch + o] = w[o * p.w_out + p.place[t]];
      }
      continue;
    }
    for (i64 o = 0; p.taps > 0 && o < outs; o += kN) {
      const i64 count = min(kN, outs - o);
      load_transposed(w + o * p.w_out, p.w_out, count, p.w_taps, kN, kernels);
      for (i64 t = 0; t < p.taps; ++t) store_n(dst + t * pitch + o, load(kernels + p.place[t] * kN), count);
    }
  }
}

// The same as a panel of rows, outs <= kMr, or of columns, outs <= kNr.
template <class T>
void pack_filter_rows(const Conv2dPass& p, const T* w, i64 outs, i64 channels, T* dst) {
  if (p.filters_are_rows()) return pack_a(w, p.w_out, 1, outs, channels * p.taps, dst);
  if (p.taps == 1 && p.w_taps == 1) return pack_a(w, p.w_out, p.w_in, outs, channels, dst);
  pack_kernels(p, w, outs, channels, outs, dst);
}
template <class T>
void pack_filter_columns(const Conv2dPass& p, const T* w, i64 outs, i64 channels, T* dst) {
  if (p.filters_are_rows()) return pack_b(w, 1, p.w_out, channels * p.taps, outs, dst);
  if (p.taps == 1 && p.w_taps == 1) return pack_b(w, p.w_in, p.w_out, channels, outs, dst);
  pack_kernels(p, w, outs, channels, kNr<T>, dst);
}

// The outgoing channels of a product in panels: rows of it, as even as they can be, or columns, kNr in all but the
// last.
template <class T>
class ChannelPanels {
 public:
  ChannelPanels(i64 channels, bool columns) : rows_(channels), channels_(channels), columns_(columns) {}
  i64 count() const { return columns_ ? ceil_div(channels_, kNr<T>) : rows_.count; }
  i64 start(i64 r) const { return columns_ ? r * kNr<T> : rows_.start(r); }
  i64 size(i64 r) const { return columns_ ? min(kNr<T>, channels_ - r * kNr<T>) : rows_.size(r); }
  i64 width() const { return columns_ ? count() * kNr<T> : channels_; }  // of all panels

 private:
  RowPanels rows_;
  i64 channels_;
  bool columns_;
};

// One group's w in passes over the depth, each in panels: the panels [panels].
template <class T>
void conv2d_pack(const Conv2dPass& p, const T* w, bool columns, Range panels, T* packed) {
  const ChannelPanels<T> all(p.out, columns);
  const auto pack = columns ? pack_filter_columns<T> : pack_filter_rows<T>;
  for (i64 c = 0; c < p.in; c += p.channels) {
    const i64 channels = min(p.channels, p.in - c), kc = channels * p.taps;
    for (i64 r = panels.begin; r < panels.end; ++r) {
      pack(p, w + all.start(r) * p.w_out + c * p.w_in, all.size(r), channels,
           packed + c * p.taps * all.width() + all.start(r) * kc);
    }
  }
}

}  // namespace
}  // namespace jadro
