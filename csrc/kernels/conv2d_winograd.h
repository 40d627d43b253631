// 3x3 convolution of stride 1 by Winograd's F(m x m, 3x3), of images and of the slices of volumes: a tile of m x m
// results costs (m+2)^2 products a channel pair instead of 9 m^2. Images are read as rows of pixels with kLanes
// channels side by side, so every transform works on whole vectors whatever the image's width. Point p of the
// transformed source V and filters U meet in one matrix product, M_p [tiles, out] = V_p [tiles, in] U_p [in, out]. One
// block of tiles at a time, so V and M stay in the second-level cache.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_filters.h"
#include "kernels/conv2d_winograd_points.h"
#include "kernels/rectifier.h"

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

template <class Shape, class Function>
JADRO_INLINE void for_segments(const Shape& s, Range tiles, Function f) {
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
  // Those that slice `image` of the destination needs of the group's channels [first, first + channels) of the pass.
  LanePlanes(const Winograd& s, const T* src, const T* zeros, i64 image, i64 group, i64 first, i64 channels) {
    const Conv2dPass& p = s.pass;
    const i64 plane = p.src_h * p.src_w, in = p.in / s.depths;
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
void pad_pixels(PaddingMode mode, const LanePlanes<T>& planes, i64 row, i64 width, i64 x, i64 count, T* dst) {
  for (i64 p = 0; p < count; ++p) {
    if (x + p >= 0 && x + p < width) continue;
    const i64 shown = row * width + source_cell(mode, x + p, width);
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
template <class T, class Shape>
JADRO_INLINE void touch_next(const Shape& s, const TileSegment& g, i64 last, const T* image, i64 image_step, i64 height,
                             i64 width, i64 channels, i64 top, i64 tile, i64 reach) {
  if (s.src_d > 1 || s.dst_d > 1) return;
  if (width * static_cast<i64>(sizeof(T)) > 64 || g.count < s.tiles_w || g.first + g.count >= last) return;
  if (g.i + 1 < s.tiles_h) {
    touch_rows(image, height, width, channels, (g.i + 1) * tile + top + reach, tile);
  } else {
    touch_rows(image + image_step, height, width, channels, top, tile + reach);
  }
}

// Pixels [x, x + count) of one row of the planes -> dst [count][kLanes], outside the image what the padding shows.
// Whole blocks are written: dst needs kLanes vectors of slack.
template <class T>
JADRO_INLINE void load_pixels(PaddingMode mode, const LanePlanes<T>& planes, i64 height, i64 width, i64 row, i64 x,
                              i64 count, T* dst) {
  constexpr int kN = kLanes<T>;
  row = source_cell(mode, row, height);
  const bool inside = row >= 0;
  const i64 begin = inside ? min(count, max(0, -x)) : count, end = inside ? max(begin, min(count, width - x)) : count;
  for (i64 p = 0; p < begin; ++p) store(dst + p * kN, Vec<T>{});
  const i64 source = row * width + x;
  for (i64 p = begin; p < end; p += kN) {
    const i64 n = min(kN, end - p);
    Vec<T> block[kN];
    if (n == kN) {
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
  if (mode != PaddingMode::kZeros) pad_pixels(mode, planes, row, width, x, count, dst);
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

// The source's tiles transformed, for `channels` of the pass from the group's channel `c` on; results as in
// transform_rows.
template <template <class> class F, class T, class TileAt>
void transform_source(const Winograd& s, const T* src, const T* zeros, i64 group, i64 c, i64 channels, Range tiles,
                      T* rows, i64 point_step, TileAt tile_at) {
  constexpr int kTile = F<T>::kTile, kPoints = F<T>::kPoints;
  using Sizes = WinogradSizes<F, T>;
  const Conv2dPass& p = s.pass;
  for_segments(s, tiles, [&](const TileSegment& g) {
    const i64 images = p.groups * p.in * p.src_h * p.src_w;
    const LanePlanes<T> planes(s, src, zeros, g.image, group, c, channels);
    const i64 width = (g.count - 1) * kTile + kPoints;
    touch_next(s, g, tiles.end - tiles.begin, planes.of[0], images, p.src_h, p.src_w, channels, s.top, kTile,
               kPoints - kTile);
    for (int i = 0; i < kPoints; ++i) {
      load_pixels(p.padding_mode, planes, p.src_h, p.src_w, g.i * kTile + s.top + i, g.j * kTile + s.left, width,
                  rows + i * Sizes::kWidth * kLanes<T>);
    }
    transform_rows<T, kPoints, kPoints, kTile>(rows, Sizes::kWidth, g.count, F<T>::source, point_step,
                                               [&](i64 t) { return tile_at(g.first + t); });
  });
}

// --- filters -----------------------------------------------------------------------------------------------------

// dst[channel][tap][lane of out] = the filters of `outs` outgoing channels, the first at w, and the incoming channels
// of the pass [first, first + channels), kLanes of each at most.
template <int kTaps, class T>
void load_filters(const Winograd& s, const T* w, i64 outs, i64 first, i64 channels, T* dst) {
  const Conv2dPass& p = s.pass;
  if (p.filters_are_rows()) return load_transposed(w + first * kTaps, p.w_out, outs, channels * kTaps, kLanes<T>, dst);
  for (i64 c = first; c < first + channels; ++c, dst += kTaps * kLanes<T>) {
    load_transposed(w + c / s.depths * p.w_in + c % s.depths * kTaps, p.w_out, outs, kTaps, kLanes<T>, dst);
  }
}

// G g G^T of a filter whose taps, vectors, stand one after the other in memory; point p goes to u + p * u_point.
template <class F, class T>
void transform_filter(const T* taps, bool flipped, T* u, i64 u_point) {
  constexpr int kTaps = F::kTaps, kPoints = F::kPoints, kLast = kTaps * kTaps - 1;
  Vec<T> half[kPoints][kTaps];
  for (int j = 0; j < kTaps; ++j) {
    Vec<T> g[kTaps], t[kPoints];
    for (int i = 0; i < kTaps; ++i) {
      const int tap = i * kTaps + j;
      g[i] = load(taps + (flipped ? kLast - tap : tap) * kLanes<T>);
    }
    F::filter(g, t);
    for (int i = 0; i < kPoints; ++i) half[i][j] = t[i];
  }
  for (int i = 0; i < kPoints; ++i) {
    Vec<T> t[kPoints];
    F::filter(half[i], t);
    for (int j = 0; j < kPoints; ++j) store(u + (i * kPoints + j) * u_point, t[j]);
  }
}

// One group's w -> U, for the panels of kNr outgoing channels [panels]: [panel][point][in][kNr], points
// u_point apart.
template <template <class> class F, class T>
void winograd_pack(const Winograd& s, const T* w, Range panels, T* packed) {
  constexpr int kN = kLanes<T>, kTaps = F<T>::kTaps * F<T>::kTaps;
  const i64 in = s.pass.in, out = s.pass.out;
  alignas(64) T taps[(kTaps + 1) * kN * kN];
  for (i64 panel = panels.begin; panel < panels.end; ++panel) {
    T* const u = packed + panel * WinogradSizes<F, T>::kPoints * s.u_point;
    for (i64 o = panel * kNr<T>; o < min(out, (panel + 1) * kNr<T>); o += kN) {
      for (i64 c0 = 0; c0 < in; c0 += kN) {
        const i64 channels = min(kN, in - c0);
        load_filters<kTaps>(s, w + o * s.pass.w_out, min(kN, out - o), c0, channels, taps);
        for (i64 c = 0; c < channels; ++c) {
          transform_filter<F<T>>(taps + c * kTaps * kN, s.flipped, u + (c0 + c) * kNr<T> + o % kNr<T>, s.u_point);
        }
      }
    }
  }
}

// --- forward, and the gradient of the data ---------------------------------------------------------------------------

// Scratch of one block: V as [point][panel of tiles][kLanes of in][tiles][kLanes], M as [point][tiles][kNr], rows of
// pixels.
template <template <class> class F, class T>
struct WinogradScratch {
  using Sizes = WinogradSizes<F, T>;
  i64 v_point, m_point;
  // A vector more than needed: points a power of two apart would share their cache sets.
  WinogradScratch(const Winograd& s, i64 tiles)
      : v_point(tiles * Sizes::lanes(s.pass.in) + kLanes<T>), m_point(tiles * kNr<T> + kLanes<T>) {}
  i64 total() const { return Sizes::kPoints * (v_point + m_point) + Sizes::rows(); }
  T* m(T* scratch) const { return scratch + Sizes::kPoints * v_point; }
  T* rows(T* scratch) const { return scratch + Sizes::kPoints * (v_point + m_point); }
};

// A^T M A of one panel of kLanes channels, through the epilogue, into the image. False where A^T M A is not finite.
template <template <class> class F, class T>
bool winograd_results(const WinogradProduct<T>& a, i64 channel, i64 channels, Range tiles, const T* m, i64 m_point,
                      T* rows) {
  constexpr int kN = kLanes<T>, kTile = F<T>::kTile, kPoints = F<T>::kPoints;
  const Conv2dPass& p = a.shape.pass;
  const i64 slice = p.dst_h * p.dst_w, plane = a.shape.dst_d * slice, pitch = WinogradSizes<F, T>::kWidth;
  const Conv2dEpilogue<T>& e = a.epilogue;
  const Vec<T> bias = e.bias ? load_n(e.bias + channel, channels) : Vec<T>{};
  const Vec<T> scale = e.scale ? load_n(e.scale + channel, channels) : broadcast(T(1));
  Vec<T> check{};
  for_segments(a.shape, tiles, [&](const TileSegment& g) {
    for (i64 t = 0; t < g.count; ++t) {
      const T* const from = m + (g.first + t) * kNr<T>;
      Vec<T> half[kTile][kPoints];
      for (int j = 0; j < kPoints; ++j) {
        Vec<T> in[kPoints], out[kTile];
#pragma GCC unroll 8
        for (int i = 0; i < kPoints; ++i) in[i] = load(from + (i * kPoints + j) * m_point);
        F<T>::result(in, out);
#pragma GCC unroll 8
        for (int i = 0; i < kTile; ++i) half[i][j] = out[i];
      }
      for (int i = 0; i < kTile; ++i) {
        Vec<T> y[kTile];
        F<T>::result(half[i], y);
#pragma GCC unroll 8
        for (int j = 0; j < kTile; ++j) {
          check += y[j] * T(0);
          store(rows + (i * pitch + t * kTile + j) * kN, y[j] * scale + bias);
        }
      }
    }
    const i64 height = min(kTile, p.dst_h - g.i * kTile), width = min(g.count * kTile, p.dst_w - g.j * kTile);
    const i64 images = p.groups * p.out * plane, depth = g.image % a.shape.dst_d, last = tiles.end - tiles.begin;
    const i64 planes = g.image / a.shape.dst_d * images + channel * plane + depth * slice;
    const i64 start = planes + g.i * kTile * p.dst_w + g.j * kTile;
    T* const image = a.dst + start;
    const T* const add = e.add ? e.add + start : nullptr;
    touch_next<T>(a.shape, g, last, a.dst + planes, images, p.dst_h, p.dst_w, channels, 0, kTile, 0);
    if (e.add) touch_next(a.shape, g, last, e.add + planes, images, p.dst_h, p.dst_w, channels, 0, kTile, 0);
    for (i64 i = 0; i < height; ++i) {
      for (i64 x = 0; x < width; x += kN) {
        Vec<T> block[kN];
#pragma GCC unroll 16
        for (int q = 0; q < kN; ++q) block[q] = load(rows + (i * pitch + x + q) * kN);
        transpose<T>(block);
        T* const to = image + i * p.dst_w + x;
        const i64 n = min(kN, width - x);
        if (add) {
          for (i64 c = 0; c < channels; ++c) block[c] += load_n(add + (to - image) + c * plane, n);
        }
        if (e.rectifier.on) {
#pragma GCC unroll 16
          for (int c = 0; c < kN; ++c) {
            block[c] = rectified(e.rectifier, channel + min(i64{c}, channels - 1), block[c]);
          }
        }
        if (n == kN && channels == kN) {
#pragma GCC unroll 16
          for (int c = 0; c < kN; ++c) store(to + c * plane, block[c]);
        } else {
          for (i64 c = 0; c < channels; ++c) store_n(to + c * plane, block[c], n);
        }
      }
    }
  });
  return !any_lane<T>(check != check);
}

// Outgoing channels of the panels [panels] for the tiles [tiles] of one group.
template <template <class> class F, class T>
bool winograd_block(const WinogradProduct<T>& a, i64 group, Range tiles, Range panels, T* scratch) {
  constexpr int kN = kLanes<T>, kPoints = WinogradSizes<F, T>::kPoints;
  const Conv2dPass& p = a.shape.pass;
  const i64 count = tiles.end - tiles.begin, in_lanes = WinogradSizes<F, T>::lanes(p.in);
  const WinogradScratch<F, T> layout(a.shape, count);
  T *const v = scratch, *const m = layout.m(scratch), *const rows = layout.rows(scratch);
  const RowPanels tile_panels(count);
  for (i64 c = 0; c < p.in; c += kN) {
    const auto at = [&](i64 tile) {
      const i64 panel = tile_panels.of(tile), first = tile_panels.start(panel);
      return v + first * in_lanes + c * tile_panels.size(panel) + (tile - first) * kN;
    };
    transform_source<F>(a.shape, a.src, a.zeros, group, c, min(kN, p.in - c), tiles, rows, layout.v_point, at);
  }
  bool finite = true;
  const i64 u_size = ceil_div(p.out, kNr<T>) * kPoints * a.shape.u_point;
  const bool far = u_size * static_cast<i64>(sizeof(T)) > kFarBytes;
  const T* const u = a.u + group * u_size;
  for (i64 panel = panels.begin; panel < panels.end; ++panel) {
    const i64 o = panel * kNr<T>, width = min(kNr<T>, p.out - o);
    for (int point = 0; point < kPoints; ++point) {
      const T* const columns = u + (panel * kPoints + point) * a.shape.u_point;
      for (i64 r = 0; r < tile_panels.count; ++r) {
        const i64 first = tile_panels.start(r);
        const Micro<T> multiply = far ? micro_for<T, Operands::kBlockedAFarB>(tile_panels.size(r), width)
                                      : micro_for<T, Operands::kBlockedA>(tile_panels.size(r), width);
        multiply(p.in, v + point * layout.v_point + first * in_lanes, 0, columns, nullptr,
                 m + point * layout.m_point + first * kNr<T>);
      }
    }
    for (i64 j = 0; j < width; j += kN) {
      finite &= winograd_results<F>(a, group * p.out + o + j, min(kN, width - j), tiles, m + j, layout.m_point, rows);
    }
  }
  return finite;
}

// --- the gradient of the weight: dU_p [out, in] = P_p [tiles, out]^T V_p [tiles, in] ---------------------------------

// V as [point][panel of kNr incoming channels][tile][kNr], P as [point][kLanes of out][tile][kLanes], of the chunk
// [chunk]; those of the tiles [tiles] inside it.
template <template <class> class F, class T>
void winograd_weight_transform(const WinogradWeight<T>& a, i64 group, Range chunk, Range tiles, T* rows) {
  constexpr int kN = kLanes<T>, kTile = F<T>::kTile, kPoints = F<T>::kPoints;
  const Conv2dPass& p = a.shape.pass;
  const i64 size = chunk.end - chunk.begin, offset = tiles.begin - chunk.begin;
  for (i64 c = 0; c < p.in; c += kN) {
    T* const v = a.v + (c / kNr<T> * size + offset) * kNr<T> + c % kNr<T>;
    transform_source<F>(a.shape, a.src, a.zeros, group, c, min(kN, p.in - c), tiles, rows, a.v_point,
                        [&](i64 tile) { return v + tile * kNr<T>; });
  }
  for (i64 o = 0; o < p.out; o += kN) {
    const i64 slice = p.dst_h * p.dst_w, plane = a.shape.dst_d * slice, images = p.groups * p.out * plane;
    const i64 channels = min(kN, p.out - o);
    T* const to = a.p + o * size + offset * kN;
    for_segments(a.shape, tiles, [&](const TileSegment& g) {
      const i64 n = g.image / a.shape.dst_d, d = g.image % a.shape.dst_d;
      const T* const dy = a.dy + n * images + (group * p.out + o) * plane + d * slice;
      const LanePlanes<T> planes(dy, plane, channels);
      touch_next(a.shape, g, tiles.end - tiles.begin, dy, images, p.dst_h, p.dst_w, channels, 0, kTile, 0);
      for (int i = 0; i < kTile; ++i) {
        load_pixels(PaddingMode::kZeros, planes, p.dst_h, p.dst_w, g.i * kTile + i, g.j * kTile, g.count * kTile,
                    rows + i * WinogradSizes<F, T>::kWidth * kN);
      }
      transform_rows<T, kTile, kPoints, kTile>(rows, WinogradSizes<F, T>::kWidth, g.count, F<T>::cotangent, a.p_point,
                                               [&](i64 t) { return to + (g.first + t) * kN; });
    });
  }
}

// dU [point][out][in, padded to kNr], the points [points]: += over the tiles of a chunk, or = for the first.
template <template <class> class F, class T>
void winograd_weight_multiply(const WinogradWeight<T>& a, i64 tiles, bool first, Range points, Range panels) {
  const Conv2dPass& p = a.shape.pass;
  const i64 row = ceil_div(p.in, kNr<T>) * kNr<T>;
  for (i64 point = points.begin; point < points.end; ++point) {
    for (i64 j = panels.begin; j < panels.end; ++j) {
      const T* const columns = a.v + point * a.v_point + j * tiles * kNr<T>;
      const i64 width = p.in - j * kNr<T> > kLanes<T> ? kNr<T> : kLanes<T>;
      for (i64 o = 0; o < p.out; o += kLanes<T>) {
        const RowPanels out(min(kLanes<T>, p.out - o));
        for (i64 r = 0; r < out.count; ++r) {
          alignas(64) T tile[kMr * kNr<T>];
          const T* const rows = a.p + point * a.p_point + o * tiles + out.start(r);
          micro_for<T>(out.size(r), width)(tiles, rows, kLanes<T>, columns, nullptr, tile);
          store_tile<T>(tile, out.size(r), width, nullptr, !first,
                        a.du + point * a.du_point + (o + out.start(r)) * row + j * kNr<T>, row);
        }
      }
    }
  }
}

// dw [out, in, taps] = G^T dU G for the outgoing channels [channels]. False where a result is not finite.
template <template <class> class F, class T>
bool winograd_weight_results(const WinogradWeight<T>& a, i64 group, Range channels) {
  constexpr int kN = kLanes<T>, kPoints = F<T>::kPoints, kTaps = F<T>::kTaps;
  const Conv2dPass& p = a.shape.pass;
  const i64 row = ceil_div(p.in, kNr<T>) * kNr<T>;
  Vec<T> check{};
  for (i64 o = channels.begin; o < channels.end; ++o) {
    for (i64 c = 0; c < p.in; c += kN) {
      const T* const du = a.du + o * row + c;
      Vec<T> half[kTaps][kPoints];
      for (int j = 0; j < kPoints; ++j) {
        Vec<T> u[kPoints], g[kTaps];
        for (int i = 0; i < kPoints; ++i) u[i] = load(du + (i * kPoints + j) * a.du_point);
        F<T>::gradient(u, g);
        for (int i = 0; i < kTaps; ++i) half[i][j] = g[i];
      }
      alignas(64) T taps[kTaps * kTaps][kN];
      const i64 count = min(kN, p.in - c);
      for (int i = 0; i < kTaps; ++i) {
        Vec<T> g[kTaps];
        F<T>::gradient(half[i], g);
        for (int j = 0; j < kTaps; ++j) {
          check += keep_part<T>(g[j], count, T(0)) * T(0);
          store(taps[i * kTaps + j], g[j]);
        }
      }
      T* const dw = a.dw + ((group * p.out + o) * p.in + c) * kTaps * kTaps;
      for (i64 i = 0; i < count; ++i) {
        for (int t = 0; t < kTaps * kTaps; ++t) dw[i * kTaps * kTaps + t] = taps[t][i];
      }
    }
  }
  return !any_lane<T>(check != check);
}

}  // namespace
}  // namespace jadro
