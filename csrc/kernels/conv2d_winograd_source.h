// The source's side of Winograd convolution: images as rows of pixels with kLanes channels side by side, so that every
// transform works on whole vectors whatever the image's width, and their tiles transformed.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_winograd_points.h"
#include "kernels/gemm.h"

namespace jadro {
namespace {

// Tiles of a row that are transformed together: their pixels stay in the first-level cache.
constexpr i64 kSegment = 14;

template <template <class> class F, class T>
struct WinogradSizes {
  static constexpr i64 kPoints = F<T>::kPoints * F<T>::kPoints;
  static constexpr i64 kWidth =
      kSegment * F<T>::kTile + F<T>::kTaps - 1 + kLanes<T>;  // pixels of a segment's row, with slack

  static i64 lanes(i64 channels) { return whole_vectors<T>(channels); }
  static i64 rows() { return F<T>::kPoints * kWidth * kLanes<T>; }
};

// Tiles of one row: the first is number `first` of the block, tile (i, j) of the image.
struct TileSegment {
  i64 first, image, i, j, count;
};

template <class Function>
JADRO_INLINE void for_segments(const Winograd& s, Range tiles, Function f) {
  for (i64 tile = tiles.begin; tile < tiles.end;) {
    const i64 row = tile / s.tiles_w, j = tile % s.tiles_w;
    const i64 count = min(kSegment, min(s.tiles_w - j, tiles.end - tile));
    f(TileSegment{tile - tiles.begin, row / s.tiles_h, row % s.tiles_h, j, count});
    tile += count;
  }
}

// The planes whose pixels fill the lanes of a vector. Lanes above the last channel repeat it.
template <class T>
struct LanePlanes {
  const T* of[kLanes<T>];

  // `channels` planes, `step` apart.
  LanePlanes(const T* first, i64 step, i64 channels) {
    for (i64 c = 0; c < kLanes<T>; ++c) of[c] = first + min(c, channels - 1) * step;
  }
  // Those that slice `image` of the destination needs of the group's channels [first, first + channels) of a phase.
  LanePlanes(const Winograd& s, const T* src, const T* zeros, i64 image, i64 group, i64 first, i64 channels) {
    const Conv2dPass& p = s.pass;
    const i64 plane = p.src_h * p.src_w, in = s.channels / s.depths;
    if (s.depths == 1 && s.src_d == 1 && s.dst_d == 1 && s.tap_d[0] == 0) {
      *this = {src + ((image * p.groups + group) * in + first) * plane, plane, channels};
      return;
    }
    const i64 n = image / s.dst_d, d = image % s.dst_d;
    for (i64 c = 0; c < kLanes<T>; ++c) {
      const i64 channel = first + min(c, channels - 1);
      const i64 z = source_cell(p.padding_mode, d * s.step_d + s.tap_d[channel % s.depths], s.src_d);
      of[c] = z < 0 ? zeros : src + (((n * p.groups + group) * in + channel / s.depths) * s.src_d + z) * plane;
    }
  }
};

// The pixels of load_pixels that lie left or right of the image, as the padding shows them.
template <class T>
void pad_pixels(PaddingMode mode, const LanePlanes<T>& planes, i64 row, i64 width, i64 x, i64 step, i64 count, T* dst) {
  for (i64 p = 0; p < count; ++p, x += step) {
    if (x >= 0 && x < width) continue;
    const i64 shown = row * width + source_cell(mode, x, width);
    for (i64 c = 0; c < kLanes<T>; ++c) dst[p * kLanes<T> + c] = planes.of[c][shown];
  }
}

// Asks for what a segment that is a whole row of tiles leads to: rows [first, first + count) of `channels` planes, of
// the next row of tiles or the next image.
template <class T>
JADRO_INLINE void touch_rows(const T* planes, i64 height, i64 width, i64 channels, i64 first, i64 count) {
  constexpr i64 kLine = 64 / static_cast<i64>(sizeof(T));
  const i64 begin = max(0, first) * width, end = min(height, first + count) * width;
  for (i64 c = 0; c < channels; ++c, planes += height * width) {
    for (i64 i = begin; i < end; i += kLine) __builtin_prefetch(planes + i, 0, 2);
  }
}

// Asks for what follows a whole row of tiles, the next row or the next image's first, where rows are so short that the
// hardware does not foresee it: `tile` new rows of the planes and `reach` more at the start of an image.
template <class T>
JADRO_INLINE void touch_next(const Winograd& s, const TileSegment& g, i64 last, const T* image, i64 image_step,
                             i64 height, i64 width, i64 channels, i64 top, i64 tile, i64 reach) {
  if (s.src_d > 1 || s.dst_d > 1) return;
  if (width * static_cast<i64>(sizeof(T)) > 64 || g.count < s.tiles_w || g.first + g.count >= last) return;
  if (g.i + 1 < s.tiles_h) {
    touch_rows(image, height, width, channels, (g.i + 1) * tile + top + reach, tile);
  } else {
    touch_rows(image + image_step, height, width, channels, top, tile + reach);
  }
}

// Every other one of `count` numbers.
template <class T>
JADRO_INLINE Vec<T> load_every_other(const T* p, i64 count) {
  const i64 first = min(count, kLanes<T>);
  const Vec<T> pair[] = {load_n(p, first), count > first ? load_n(p + first, min(count - first, kLanes<T>)) : Vec<T>{}};
  return every<T, 2, 0>(pair);
}

// Pixels x, x + step, ... of one row of the planes -> dst [count][kLanes], outside the image what the padding shows;
// step is 1 or 2. Whole blocks are written: dst needs kLanes vectors of slack.
template <class T>
__attribute__((noinline)) void load_pixels(PaddingMode mode, const LanePlanes<T>& planes, i64 height, i64 width,
                                           i64 row, i64 x, i64 step, i64 count, T* dst) {
  constexpr int kN = kLanes<T>;
  row = source_cell(mode, row, height);
  const bool inside = row >= 0;
  const i64 begin = inside ? min(count, ceil_div(max(0, -x), step)) : count;
  const i64 end = inside ? max(begin, min(count, ceil_div(max(0, width - x), step))) : count;
  for (i64 p = 0; p < begin; ++p) store(dst + p * kN, Vec<T>{});
  const i64 source = row * width + x;
  for (i64 p = begin; p < end; p += kN) {
    const i64 n = min(kN, end - p);
    Vec<T> block[kN];
    if (step == 2) {
      const i64 left = min(2 * kN, width - x - 2 * p);
      for (int c = 0; c < kN; ++c) block[c] = load_every_other(planes.of[c] + source + 2 * p, left);
    } else if (n == kN) {
#pragma GCC unroll 16
      for (int c = 0; c < kN; ++c) block[c] = load(planes.of[c] + source + p);
    } else {
#pragma GCC unroll 16
      for (int c = 0; c < kN; ++c) block[c] = load_part(planes.of[c] + source + p, n);
    }
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) store(dst + (p + i) * kN, block[i]);
  }
  for (i64 p = end; p < count; ++p) store(dst + p * kN, Vec<T>{});
  if (mode != PaddingMode::kZeros) pad_pixels(mode, planes, row, width, x, step, count, dst);
}

// One transform applied to the columns and rows of every tile of a segment: kIn pixels -> kPoints points, tiles kStep
// pixels apart. Point q of tile t goes to tile_at(t) + q * point_step.
template <class T, int kIn, int kPoints, int kStep, class Transform, class TileAt>
JADRO_INLINE void transform_rows(T* rows, i64 pitch, i64 count, Transform transform, i64 point_step, TileAt tile_at) {
  const i64 width = (count - 1) * kStep + kIn;
  for (i64 x = 0; x < width; ++x) {
    Vec<T> in[kIn], out[kPoints];
#pragma GCC unroll 8
    for (int i = 0; i < kIn; ++i) in[i] = load(rows + (i * pitch + x) * kLanes<T>);
    transform(in, out);
#pragma GCC unroll 8
    for (int i = 0; i < kPoints; ++i) store(rows + (i * pitch + x) * kLanes<T>, out[i]);
  }
  for (i64 t = 0; t < count; ++t) {
    T* to = tile_at(t);
    const T* row = rows + t * kStep * kLanes<T>;
    for (int i = 0; i < kPoints; ++i, row += pitch * kLanes<T>) {
      Vec<T> in[kIn], out[kPoints];
#pragma GCC unroll 8
      for (int j = 0; j < kIn; ++j) in[j] = load(row + j * kLanes<T>);
      transform(in, out);
#pragma GCC unroll 8
      for (int j = 0; j < kPoints; ++j, to += point_step) store(to, out[j]);
    }
  }
}

// A vector of the pass's channels, from channel c on: those of one phase of the source, and the phase.
struct PhaseChannels {
  i64 first, count, row, column;
  template <class T>
  static JADRO_INLINE PhaseChannels of(const Winograd& s, i64 c) {
    const i64 all = s.pass.in / (s.stride * s.stride), phase = c / all, first = c % all;
    return {first, min(kLanes<T>, s.channels - first), phase / s.stride, phase % s.stride};
  }
};

// The source's tiles transformed, for a vector of channels of the pass from the group's channel `c` on; results as in
// transform_rows.
template <template <class> class F, class T, class TileAt>
void transform_source(const Winograd& s, const T* src, const T* zeros, i64 group, i64 c, Range tiles, T* rows,
                      i64 point_step, TileAt tile_at) {
  constexpr int kTile = F<T>::kTile, kPoints = F<T>::kPoints;
  using Sizes = WinogradSizes<F, T>;
  const Conv2dPass& p = s.pass;
  const PhaseChannels of = PhaseChannels::of<T>(s, c);
  for_segments(s, tiles, [&](const TileSegment& g) {
    const i64 images = p.groups * s.channels * p.src_h * p.src_w;
    const LanePlanes<T> planes(s, src, zeros, g.image, group, of.first, of.count);
    const i64 width = (g.count - 1) * kTile + kPoints;
    if (s.stride == 1) {
      touch_next(s, g, tiles.end - tiles.begin, planes.of[0], images, p.src_h, p.src_w, of.count, s.top, kTile,
                 kPoints - kTile);
    }
    const i64 top = g.i * kTile * s.stride + s.top + of.row, left = g.j * kTile * s.stride + s.left + of.column;
    for (int i = 0; i < kPoints; ++i) {
      load_pixels(p.padding_mode, planes, p.src_h, p.src_w, top + i * s.stride, left, s.stride, width,
                  rows + i * Sizes::kWidth * kLanes<T>);
    }
    transform_rows<T, kPoints, kPoints, kTile>(rows, Sizes::kWidth, g.count, F<T>::source, point_step,
                                               [&](i64 t) { return tile_at(g.first + t); });
  });
}

}  // namespace
}  // namespace jadro
