// Depthwise convolution of small planes: those of kLanes channels are turned so that a vector holds one pixel of them
// all, and every pixel of the result is a product of vectors for each tap, whatever the rows' length.
#pragma once

#include "kernels/conv2d_filters.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

// The source of kLanes channels, [row][column][kLanes] from the first tap's first cell to the last tap's last, zeros
// around the image.
template <class T>
class ChannelPlanes {
  static constexpr i64 kN = kLanes<T>, kMostCells = 484;

 public:
  static constexpr i64 kMostPixels = 256, kMostTaps = 64;

  static bool fit(const Conv2dPass& p) {
    return p.in == 1 && p.out == 1 && 2 * p.groups >= kN && p.padding_mode == PaddingMode::kZeros && p.depths == 1 &&
           p.tap_d[0] == 0 && p.src_d == 1 && p.dst_d == 1 && p.dst_step_h == 1 && p.dst_step_w == 1 &&
           p.taps <= kMostTaps && p.src_plane() <= kMostPixels && p.grid() <= kMostPixels &&
           cells_of(p.grid_h, p.step_h, p.reach_h) * cells_of(p.grid_w, p.step_w, p.reach_w) <= kMostCells;
  }

  explicit ChannelPlanes(const Conv2dPass& p) : pixels_(p.src_h * p.src_w) {
    const i64 rows = cells_of(p.grid_h, p.step_h, p.reach_h), columns = cells_of(p.grid_w, p.step_w, p.reach_w);
    for (i64 i = 0; i < rows * columns * kN; i += kN) store(cells_ + i, Vec<T>{});
    i64* at = place_;
    for (i64 r = -p.reach_h.begin; r < p.src_h - p.reach_h.begin; ++r) {
      for (i64 c = -p.reach_w.begin; c < p.src_w - p.reach_w.begin; ++c) {
        *at++ = (r >= 0 && r < rows && c >= 0 && c < columns ? r * columns + c : kMostCells) * kN;
      }
    }
    while ((at - place_) % kN != 0) *at++ = kMostCells * kN;
    for (i64 t = 0; t < p.taps; ++t) {
      tap_[t] = ((p.tap_h[t] - p.reach_h.begin) * columns + p.tap_w[t] - p.reach_w.begin) * kN;
    }
    i64* base = base_;
    for (i64 i = 0; i < p.grid_h; ++i) {
      for (i64 j = 0; j < p.grid_w; ++j) *base++ = (i * p.step_h * columns + j * p.step_w) * kN;
    }
  }

  // Reads `channels` <= kLanes planes; lanes above repeat the last.
  void load_planes(const T* planes, i64 channels) {
    for (i64 k = 0; k < pixels_; k += kN) {
      Vec<T> block[kN];
#pragma GCC unroll 16
      for (int i = 0; i < kN; ++i) {
        block[i] = load_n(planes + min(i, channels - 1) * pixels_ + k, min(kN, pixels_ - k));
      }
      transpose<T>(block);
#pragma GCC unroll 16
      for (int i = 0; i < kN; ++i) store(cells_ + place_[k + i], block[i]);
    }
  }
  // What cell number `cell` of the grid sees of tap t stands at of(cell)[tap(t)].
  JADRO_INLINE const T* of(i64 cell) const { return cells_ + base_[cell]; }
  JADRO_INLINE i64 tap(i64 t) const { return tap_[t]; }

 private:
  static i64 cells_of(i64 grid, i64 step, const Range& reach) {
    return (grid - 1) * step + reach.end - reach.begin + 1;
  }

  i64 pixels_;
  i64 place_[kMostPixels], base_[kMostPixels], tap_[kMostTaps];
  alignas(64) T cells_[(kMostCells + 1) * kN];  // and one for pixels that no tap meets
};

// Whether the planes are small, and rows of them would fill vectors badly or be summed.
template <class T>
bool conv2d_by_channels(const Conv2dPass& p, bool weight) {
  return ChannelPlanes<T>::fit(p) && (weight || 2 * p.grid_w <= kLanes<T>);
}

// The planes [items] of (image, channel).
template <class T>
void conv2d_channels(const Conv2dProduct<T>& a, Range items) {
  constexpr i64 kN = kLanes<T>, kAtOnce = 8;
  const Conv2dPass& p = a.pass;
  const Conv2dEpilogue<T> e = a.epilogue;
  const i64 cells = p.grid();
  ChannelPlanes<T> planes(p);
  alignas(64) T results[(ChannelPlanes<T>::kMostPixels + kN) * kN], taps[ChannelPlanes<T>::kMostTaps * kN] = {};
  for (i64 item = items.begin, count; item < items.end; item += count) {
    const i64 channel = item % p.groups;
    count = min(kN, min(items.end - item, p.groups - channel));
    planes.load_planes(a.src + item * p.src_plane(), count);
    pack_kernels(p, a.w + channel * p.w_out, count, 1, kN, taps);
    const Vec<T> bias = e.bias ? load_n(e.bias + channel, count) : Vec<T>{};
    const Vec<T> scale = e.scale ? load_n(e.scale + channel, count) : broadcast(T(1));
    for (i64 c = 0; c < cells; c += kAtOnce) {  // the last cell again where fewer are left
      Vec<T> acc[kAtOnce] = {};
      const T* from[kAtOnce];
      for (i64 q = 0; q < kAtOnce; ++q) from[q] = planes.of(min(c + q, cells - 1));
      for (i64 t = 0; t < p.taps; ++t) {
        const Vec<T> tap = load(taps + t * kN);
        const i64 at = planes.tap(t);
#pragma GCC unroll 8
        for (int q = 0; q < kAtOnce; ++q) acc[q] += tap * load(from[q] + at);
      }
#pragma GCC unroll 8
      for (int q = 0; q < kAtOnce; ++q) store(results + min(c + q, cells - 1) * kN, acc[q] * scale + bias);
    }
    T* const dst = a.dst + item * cells;
    for (i64 k = 0; k < cells; k += kN) {
      Vec<T> block[kN];
#pragma GCC unroll 16
      for (int i = 0; i < kN; ++i) block[i] = load(results + (k + i) * kN);
      transpose<T>(block);
      const i64 left = min(kN, cells - k);
#pragma GCC unroll 16
      for (int lane = 0; lane < kN; ++lane) {
        if (lane >= count) continue;
        const i64 at = lane * cells + k;
        Vec<T> v = block[lane];
        if (e.add) v += load_n(e.add + item * cells + at, left);
        v = rectified(e.rectifier, channel + lane, v);
        store_n(dst + at, v, left);
      }
    }
  }
}

// sums[k] += dy times what tap first + k sees, over all cells.
template <class T, int kTaps>
JADRO_INLINE void add_channel_products(const ChannelPlanes<T>& planes, i64 first, const T* dy, i64 cells, T* sums) {
  Vec<T> acc[kTaps];
  i64 tap[kTaps];
  for (int k = 0; k < kTaps; ++k) acc[k] = load(sums + k * kLanes<T>), tap[k] = planes.tap(first + k);
  for (i64 cell = 0; cell < cells; ++cell, dy += kLanes<T>) {
    const Vec<T> d = load(dy);
    const T* const from = planes.of(cell);
#pragma GCC unroll 9
    for (int k = 0; k < kTaps; ++k) acc[k] += d * load(from + tap[k]);
  }
  for (int k = 0; k < kTaps; ++k) store(sums + k * kLanes<T>, acc[k]);
}

// dw of the channels [channels]; vectors add up some kConv2dAddends products before they are summed exactly.
template <class T>
void conv2d_channels_weight(const Conv2dWeight<T>& a, Range channels) {
  constexpr i64 kN = kLanes<T>, kMostTaps = ChannelPlanes<T>::kMostTaps, kTaps = 9;
  const Conv2dPass& p = a.pass;
  const i64 cells = p.grid();
  ChannelPlanes<T> planes(p);
  alignas(64) T dy[(ChannelPlanes<T>::kMostPixels + kN) * kN], sums[kMostTaps * kN];
  double total[kMostTaps * kN];
  for (i64 channel = channels.begin, count; channel < channels.end; channel += count) {
    count = min(kN, channels.end - channel);
    for (i64 k = 0; k < p.taps * kN; ++k) total[k] = 0, sums[k] = 0;
    for (i64 n = 0, added = 0; n < p.n; ++n) {
      const i64 item = n * p.groups + channel;
      planes.load_planes(a.src + item * p.src_plane(), count);
      load_transposed(a.dy + item * cells, cells, count, cells, kN, dy);
      i64 t = 0;
      for (; t + kTaps <= p.taps; t += kTaps) add_channel_products<T, kTaps>(planes, t, dy, cells, sums + t * kN);
      for (; t < p.taps; ++t) add_channel_products<T, 1>(planes, t, dy, cells, sums + t * kN);
      added += cells;
      if (added < kConv2dAddends && n + 1 < p.n) continue;
      for (i64 k = 0; k < p.taps * kN; ++k) total[k] += sums[k], sums[k] = 0;
      added = 0;
    }
    for (i64 t = 0; t < p.taps; ++t) {
      for (i64 lane = 0; lane < count; ++lane)
        a.dw[(channel + lane) * p.taps + t] = static_cast<T>(total[t * kN + lane]);
    }
  }
}

}  // namespace
}  // namespace jadro
