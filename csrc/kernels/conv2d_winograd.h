// Convolution by Winograd's F(m x m, r x r), of images and of the slices of volumes: a tile of m x m results costs
// (m+r-1)^2 products a channel pair instead of (m r)^2. Point p of the transformed source V and filters U meet in one
// matrix product, M_p [tiles, out] = V_p [tiles, in] U_p [in, out]. One block of tiles at a time, so V and M stay in
// the second-level cache. With stride 2 the pixels of each phase of the image are channels of their own, and their
// filters the taps that meet them; where the results stand 2 apart, as in the gradient of such a convolution, each
// phase of the results is a convolution of its own.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_filters.h"
#include "kernels/conv2d_winograd_source.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

// --- filters -----------------------------------------------------------------------------------------------------

constexpr i64 kMostPhaseTaps = 36;  // of a kernel of which a phase is transformed

// Element of a channel's filter that is tap (i, j) of r x r of a phase, or of those that the pass picks; -1 for none.
JADRO_INLINE i64 phase_tap(const Winograd& s, const PhaseChannels& of, i64 i, i64 j) {
  if (s.stride == 1) return s.pass.place[i * s.r + j];
  const i64 size = 2 * s.r - (s.pass.w_taps < 4 * s.r * s.r), row = 2 * i + of.row, column = 2 * j + of.column;
  return row < size && column < size ? row * size + column : -1;
}

// dst[channel][tap][lane of out] = the filters of `outs` outgoing channels, the first at w, and a vector of incoming
// channels of the pass, from channel c on.
template <int kTaps, class T>
void load_filters(const Winograd& s, const T* w, i64 outs, i64 c, T* dst) {
  constexpr int kN = kLanes<T>;
  const Conv2dPass& p = s.pass;
  const PhaseChannels of = PhaseChannels::of<T>(s, c);
  const i64 end = of.first + of.count;
  if (p.filters_are_rows() && s.stride == 1) {
    return load_transposed(w + of.first * kTaps, p.w_out, outs, of.count * kTaps, kN, dst);
  }
  if (p.w_taps == p.taps && s.stride == 1) {
    for (i64 k = of.first; k < end; ++k, dst += kTaps * kN) {
      load_transposed(w + k / s.depths * p.w_in + k % s.depths * kTaps, p.w_out, outs, kTaps, kN, dst);
    }
    return;
  }
  alignas(64) T all[(kMostPhaseTaps + kN) * kN];
  for (i64 k = of.first; k < end; ++k) {
    load_transposed(w + k * p.w_in, p.w_out, outs, p.w_taps, kN, all);
    for (i64 t = 0; t < kTaps; ++t, dst += kN) {
      const i64 tap = phase_tap(s, of, t / s.r, t % s.r);
      store(dst, tap < 0 ? Vec<T>{} : load(all + tap * kN));
    }
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
        const i64 channels = PhaseChannels::of<T>(s, c0).count, end = min(kN, in - c0);
        load_filters<kTaps>(s, w + o * s.pass.w_out, min(kN, out - o), c0, taps);
        for (i64 t = channels * kTaps; t < end * kTaps; ++t) store(taps + t * kN, Vec<T>{});
        for (i64 c = 0; c < end; ++c) {
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

// `count` <= kLanes pixels, `channels` side by side of each, through the epilogue: pixel q of channel c goes to dst[c *
// plane + q * step], step 1 or 2.
template <class T>
__attribute__((noinline)) void put_pixels(const Conv2dEpilogue<T>& e, i64 channel, i64 channels, i64 count,
                                          const T* pixels, i64 plane, i64 step, const T* add, T* dst) {
  constexpr int kN = kLanes<T>;
  Vec<T> block[kN];
#pragma GCC unroll 16
  for (int q = 0; q < kN; ++q) block[q] = load(pixels + q * kN);
  transpose<T>(block);
  if (add) {
    for (i64 c = 0; c < channels; ++c, add += plane) {
      block[c] += step == 1 ? load_n(add, count) : load_every_other(add, 2 * count - 1);
    }
  }
  if (e.rectifier.on) {
    for (i64 c = 0; c < channels; ++c) block[c] = rectified(e.rectifier, channel + c, block[c]);
  }
  if (step == 2) {
    for (i64 c = 0; c < channels; ++c, dst += plane) store_every_other(dst, block[c], count);
  } else if (count == kN && channels == kN) {
#pragma GCC unroll 16
    for (int c = 0; c < kN; ++c) store(dst + c * plane, block[c]);
  } else {
    for (i64 c = 0; c < channels; ++c, dst += plane) store_n(dst, block[c], count);
  }
}

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
    const i64 height = min(kTile, p.grid_h - g.i * kTile), width = min(g.count * kTile, p.grid_w - g.j * kTile);
    const i64 images = p.groups * p.out * plane, depth = g.image % a.shape.dst_d, last = tiles.end - tiles.begin;
    const i64 planes = g.image / a.shape.dst_d * images + channel * plane + depth * slice;
    const i64 step_h = p.dst_step_h * p.dst_w, step_w = p.dst_step_w;
    const i64 start = planes + p.dst_h0 * p.dst_w + p.dst_w0 + g.i * kTile * step_h + g.j * kTile * step_w;
    T* const image = a.dst + start;
    const T* const add = e.add ? e.add + start : nullptr;
    if (step_w == 1) {
      touch_next<T>(a.shape, g, last, a.dst + planes, images, p.dst_h, p.dst_w, channels, 0, kTile, 0);
      if (e.add) touch_next(a.shape, g, last, e.add + planes, images, p.dst_h, p.dst_w, channels, 0, kTile, 0);
    }
    for (i64 i = 0; i < height; ++i) {
      for (i64 x = 0; x < width; x += kN) {
        const i64 at = i * step_h + x * step_w;
        put_pixels(e, channel, channels, min(kN, width - x), rows + (i * pitch + x) * kN, plane, step_w,
                   add ? add + at : nullptr, image + at);
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
    transform_source<F>(a.shape, a.src, a.zeros, group, c, tiles, rows, layout.v_point, at);
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
        const Operands operands = far ? Operands::kBlockedAFarB : Operands::kBlockedA;
        const Micro<T> multiply = micro_for<T>(tile_panels.size(r), width, operands);
        multiply(p.in, v + point * layout.v_point + first * in_lanes, 0, columns, nullptr,
                 m + point * layout.m_point + first * kNr<T>, nullptr);
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
    transform_source<F>(a.shape, a.src, a.zeros, group, c, tiles, rows, a.v_point,
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
        load_pixels(PaddingMode::kZeros, planes, p.dst_h, p.dst_w, g.i * kTile + i, g.j * kTile, 1, g.count * kTile,
                    rows + i * WinogradSizes<F, T>::kWidth * kN);
      }
      transform_rows<T, kTile, kPoints, kTile>(rows, WinogradSizes<F, T>::kWidth, g.count, F<T>::cotangent, a.p_point,
                                               [&](i64 t) { return to + (g.first + t) * kN; });
    });
  }
}

// dU [point][out][in, padded to kNr], the points [points]: += over the tiles of a chunk, or = for the first.
template <template <class> class F, class T>
void winograd_weight_multiply(const WinogradWeight<T>& a, i64 tiles, bool first, Range points) {
  const Conv2dPass& p = a.shape.pass;
  const i64 row = ceil_div(p.in, kNr<T>) * kNr<T>;
  for (i64 point = points.begin; point < points.end; ++point) {
    for (i64 j = 0; j < row / kNr<T>; ++j) {
      const T* const columns = a.v + point * a.v_point + j * tiles * kNr<T>;
      const i64 width = p.in - j * kNr<T> > kLanes<T> ? kNr<T> : kLanes<T>;
      for (i64 o = 0; o < p.out; o += kLanes<T>) {
        const RowPanels out(min(kLanes<T>, p.out - o));
        for (i64 r = 0; r < out.count; ++r) {
          alignas(64) T tile[kMr * kNr<T>];
          const T* const rows = a.p + point * a.p_point + o * tiles + out.start(r);
          micro_for<T>(out.size(r), width)(tiles, rows, kLanes<T>, columns, nullptr, tile, nullptr);
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
      const PhaseChannels of = PhaseChannels::of<T>(a.shape, c);
      const T* const du = a.du + o * row + c;
      Vec<T> half[kTaps][kPoints];
      for (int j = 0; j < kPoints; ++j) {
        Vec<T> u[kPoints], g[kTaps];
        for (int i = 0; i < kPoints; ++i) u[i] = load(du + (i * kPoints + j) * a.du_point);
        F<T>::gradient(u, g);
        for (int i = 0; i < kTaps; ++i) half[i][j] = g[i];
      }
      alignas(64) T taps[kTaps * kTaps][kN];
      for (int i = 0; i < kTaps; ++i) {
        Vec<T> g[kTaps];
        F<T>::gradient(half[i], g);
        for (int j = 0; j < kTaps; ++j) {
          check += keep_part<T>(g[j], of.count, T(0)) * T(0);
          store(taps[i * kTaps + j], g[j]);
        }
      }
      const i64 size = a.shape.stride == 1 ? kTaps * kTaps : p.w_taps;
      T* const dw = a.dw + ((group * p.out + o) * a.shape.channels + of.first) * size;
      for (int t = 0; t < kTaps * kTaps; ++t) {
        const i64 tap = a.shape.stride == 1 ? t : phase_tap(a.shape, of, t / kTaps, t % kTaps);
        for (i64 i = 0; tap >= 0 && i < of.count; ++i) dw[i * size + tap] = taps[t][i];
      }
    }
  }
  return !any_lane<T>(check != check);
}

}  // namespace
}  // namespace jadro
