// Depthwise convolution of small planes with 3x3 kernels: the planes of kLanes channels are turned so that a vector
// holds one pixel of them all, and every pixel of the result is nine products of vectors, whatever the rows' length.
#pragma once

#include "kernels/conv2d_filters.h"
#include "kernels/conv2d_rows_3x3.h"

namespace jadro {
namespace {

constexpr i64 kMostPixels = 256;  // of a small plane

// The source of kLanes channels, [row][column][kLanes] from the first tap's first cell to the last tap's last, zeros
// around the image.
template <class T>
class ChannelPlanes {
  static constexpr i64 kN = kLanes<T>, kMostCells = 324;

 public:
  static bool fit(const Conv2dPass& p) {
    return p.out == 1 && 2 * p.groups >= kN && p.src_h * p.src_w <= kMostPixels && p.grid() <= kMostPixels &&
           rows_of(p.grid_h, p.step_h) * rows_of(p.grid_w, p.step_w) <= kMostCells;
  }

  ChannelPlanes(const Conv2dPass& p, const ThreeByThree& three)
      : pixels_(p.src_h * p.src_w), step_(p.step_w), pitch_(rows_of(p.grid_w, p.step_w)) {
    const i64 rows = rows_of(p.grid_h, p.step_h), cells = rows * pitch_;
    for (i64 i = 0; i < cells * kN; i += kN) store(cells_ + i, Vec<T>{});
    i64* at = place_;
    for (i64 r = -three.top; r < p.src_h - three.top; ++r) {
      for (i64 c = -three.left; c < p.src_w - three.left; ++c) {
        *at++ = (r >= 0 && r < rows && c >= 0 && c < pitch_ ? r * pitch_ + c : kMostCells) * kN;
      }
    }
    while ((at - place_) % kN != 0) *at++ = kMostCells * kN;
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
  // Tap 0 of cell (i, j); tap k stands tap_offset(k) on.
  JADRO_INLINE const T* of(i64 i, i64 j) const { return cells_ + (i * pitch_ + j) * step_ * kN; }
  JADRO_INLINE i64 tap_offset(i64 k) const { return (k / 3 * pitch_ + k % 3) * kN; }

 private:
  static i64 rows_of(i64 grid, i64 step) { return (grid - 1) * step + 3; }

  i64 pixels_, step_, pitch_;
  i64 place_[kMostPixels];
  alignas(64) T cells_[(kMostCells + 1) * kN];  // and one for pixels that no tap meets
};

// The planes [items] of (image, channel).
template <class T>
void three_by_three_channels(const Conv2dProduct<T>& a, const ThreeByThree& three, Range items) {
  constexpr i64 kN = kLanes<T>, kAtOnce = 4;
  const Conv2dPass& p = a.pass;
  const Conv2dEpilogue<T> e = a.epilogue;
  const i64 grid_h = p.grid_h, grid_w = p.grid_w, cells = grid_h * grid_w;
  ChannelPlanes<T> planes(p, three);
  alignas(64) T results[(kMostPixels + kN) * kN];
  i64 offset[9];
  for (i64 k = 0; k < 9; ++k) offset[k] = planes.tap_offset(k);
  for (i64 item = items.begin, count; item < items.end; item += count) {
    const i64 channel = item % p.groups;
    count = min(kN, min(items.end - item, p.groups - channel));
    planes.load_planes(a.src + item * p.src_h * p.src_w, count);
    alignas(64) T taps[9 * kN];
    for (i64 k = 0; k < 9 * kN; ++k) {
      taps[k] = a.w[(channel + min(k % kN, count - 1)) * p.w_out + three.place[k / kN]];
    }
    Vec<T> tap[9];
    for (int k = 0; k < 9; ++k) tap[k] = load(taps + k * kN);
    const Vec<T> bias = e.bias ? load_n(e.bias + channel, count) : Vec<T>{};
    const Vec<T> scale = e.scale ? load_n(e.scale + channel, count) : broadcast(T(1));
    for (i64 i = 0; i < grid_h; ++i) {
      for (i64 j = 0; j < grid_w; j += kAtOnce) {  // the last columns again where fewer are left
        Vec<T> acc[kAtOnce] = {};
        const T* from[kAtOnce];
        for (i64 q = 0; q < kAtOnce; ++q) from[q] = planes.of(i, min(j + q, grid_w - 1));
#pragma GCC unroll 9
        for (int k = 0; k < 9; ++k) {
#pragma GCC unroll 4
          for (int q = 0; q < kAtOnce; ++q) acc[q] += tap[k] * load(from[q] + offset[k]);
        }
        for (i64 q = 0; q < kAtOnce; ++q) {
          store(results + (i * grid_w + min(j + q, grid_w - 1)) * kN, acc[q] * scale + bias);
        }
      }
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
        if (e.relu) v = v < T(0) ? Vec<T>{} : v;
        store_n(dst + at, v, left);
      }
    }
  }
}

// dw of the channels [channels]; vectors add up some kAddends products before they are summed exactly.
template <class T>
void three_by_three_channels_weight(const Conv2dWeight<T>& a, const ThreeByThree& three, Range channels) {
  constexpr i64 kN = kLanes<T>;
  const Conv2dPass& p = a.pass;
  const i64 cells = p.grid();
  ChannelPlanes<T> planes(p, three);
  alignas(64) T dy[(kMostPixels + kN) * kN];
  for (i64 channel = channels.begin, count; channel < channels.end; channel += count) {
    count = min(kN, channels.end - channel);
    double total[9][kN] = {};
    Vec<T> acc[9] = {};
    for (i64 n = 0, added = 0; n < p.n; ++n) {
      const i64 item = n * p.groups + channel;
      planes.load_planes(a.src + item * p.src_h * p.src_w, count);
      load_transposed(a.dy + item * cells, cells, count, cells, kN, dy);
      Vec<T> sum[9];
      for (int k = 0; k < 9; ++k) sum[k] = acc[k];
      for (i64 i = 0, cell = 0; i < p.grid_h; ++i) {
        for (i64 j = 0; j < p.grid_w; ++j, ++cell) {
          const Vec<T> d = load(dy + cell * kN);
          const T* const from = planes.of(i, j);
#pragma GCC unroll 9
          for (int k = 0; k < 9; ++k) sum[k] += d * load(from + planes.tap_offset(k));
        }
      }
      for (int k = 0; k < 9; ++k) acc[k] = sum[k];
      added += cells;
      if (added < kAddends && n + 1 < p.n) continue;
      for (int k = 0; k < 9; ++k) {
        for (i64 lane = 0; lane < kN; ++lane) total[k][lane] += acc[k][lane];
        acc[k] = Vec<T>{};
      }
      added = 0;
    }
    for (int k = 0; k < 9; ++k) {
      for (i64 lane = 0; lane < count; ++lane)
        a.dw[(channel + lane) * 9 + three.tap[k]] = static_cast<T>(total[k][lane]);
    }
  }
}

}  // namespace
}  // namespace jadro
