// Two-dimensional max pooling. The first of equal values wins, the first NaN beats every number, padding never wins; a
// window without a single pixel gives -inf and index -1.
#pragma once

#include <type_traits>

#include "kernels/simd.h"

namespace jadro {
namespace {

template <class T>
using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, i64>;

// Forward works on rows of input split by phase, so that every tap of every stride is a load of neighbours: column j of
// the padded image is element j / stride_w of phase j % stride_w, and what lies in the padding is -inf. Split rows are
// kept in a ring as high as a window. Windows with more taps, or farther apart, or few side by side, are walked one by
// one.
constexpr i64 kMostTaps = 32, kFarthest = 8;

template <class T>
struct PoolRing {
  bool used;
  i64 width = 0;          // elements of a phase
  i64 row = 0;            // elements of a row: all phases
  i64 height = 1;         // rows: a power of two
  i64 firsts = 0;         // offset of the table of the first column in each window, behind the rows
  i64 phases[kFarthest];  // where the first columns of the image go
  i64 taps[kMostTaps];    // offset of each tap of a row from the column of its output

  explicit PoolRing(const Pool2d& p) {
    used = p.ow >= kLanes<T> / 4 && p.stride_w <= kFarthest && p.kh <= kMostTaps && p.kw <= kMostTaps;
    if (!used) return;
    const i64 last = max(p.pad_left + p.iw, (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1);
    width = (ceil_div(ceil_div(last, p.stride_w), kLanes<T>) + 2) * kLanes<T>;
    row = width * p.stride_w;
    while (height < min((p.kh - 1) * p.dilation_h + 1, p.ih)) height *= 2;
    firsts = row * height;
    for (i64 c = 0; c < p.stride_w; ++c) {
      phases[c] = (c + p.pad_left) % p.stride_w * width + (c + p.pad_left) / p.stride_w;
    }
    for (i64 k = 0; k < p.kw; ++k) {
      taps[k] = k * p.dilation_w % p.stride_w * width + k * p.dilation_w / p.stride_w;
    }
  }

  // Where row h of the image is kept.
  JADRO_INLINE i64 place(i64 h) const { return (h & (height - 1)) * row; }
};

template <class T>
i64 max_pool2d_scratch(const Pool2d& p) {
  const PoolRing<T> ring(p);
  return ring.used ? ring.firsts + ceil_div(p.ow, kLanes<T>) * kLanes<T> : 0;
}

template <class T>
JADRO_INLINE Vec<T> load_or_lowest(const T* p, i64 count) {
  const T lowest = -__builtin_inff();
  if (count >= kLanes<T>) return load(p);
  return count <= 0 ? broadcast(lowest) : keep_part<T>(load_part(p, count), count, lowest);
}

// Rows h of the image x[ih,iw] into the ring; true where one of them holds a NaN. Whole vectors are written: the ring
// has room for them, and above the row they hold -inf. kStride is stride_w, 0 for any.
template <class T, int kStride>
bool split_rows(const Pool2d& p, const PoolRing<T>& ring, const T* x, Range h, T* rows) {
  constexpr i64 kN = kLanes<T>;
  VecInt<T> nan{};
  bool any = false;
  for (i64 r = h.begin; r < h.end; ++r) {
    const T* const from = x + r * p.iw;
    T* const to = rows + ring.place(r);
    if constexpr (kStride == 1) {
      for (i64 i = 0; i < p.iw; i += kN) {
        const Vec<T> v = load_or_lowest(from + i, p.iw - i);
        nan |= v != v;
        store(to + ring.phases[0] + i, v);
      }
    } else if constexpr (kStride == 2) {
      T *const even = to + ring.phases[0], *const odd = to + ring.phases[1];
      for (i64 i = 0; 2 * i < p.iw; i += kN) {
        const i64 left = p.iw - 2 * i;
        const Vec<T> a = load_or_lowest(from + 2 * i, left), b = load_or_lowest(from + 2 * i + kN, left - kN);
        nan |= (a != a) | (b != b);
        store(even + i, __builtin_shuffle(a, b, 2 * lane_numbers<T>()));
        store(odd + i, __builtin_shuffle(a, b, 2 * lane_numbers<T>() + 1));
      }
    } else {
      for (i64 first = 0; first < min(p.stride_w, p.iw); ++first) {
        T* phase = to + ring.phases[first];
        for (i64 i = first; i < p.iw; i += p.stride_w) {
          any |= from[i] != from[i];
          *phase++ = from[i];
        }
      }
    }
  }
  return any || any_lane<T>(nan);
}

// The first of begin, begin + step, ... (count of them) in [0, end), or -1.
JADRO_INLINE i64 first_inside(i64 begin, i64 step, i64 count, i64 end) {
  const i64 skipped = begin < 0 ? ceil_div(-begin, step) : 0;
  return skipped < count && begin + skipped * step < end ? begin + skipped * step : -1;
}

JADRO_INLINE void store_indices(std::int32_t* to, VecInt<float> v, i64 count) {
  Vec<float> bits;
  std::memcpy(&bits, &v, sizeof v);
  store_n(reinterpret_cast<float*>(to), bits, count);
}
JADRO_INLINE void store_indices(std::int32_t* to, VecInt<double> v, i64 count) {
  for (i64 i = 0; i < count; ++i) to[i] = static_cast<std::int32_t>(v[i]);
}

// The rows of input under one row of output: where they are in the ring, and the offset of each in its plane.
template <class T>
struct PoolRows {
  i64 count;
  bool nan;  // whether one of them may hold a NaN
  const T* row[kMostTaps];
  i64 offset[kMostTaps];
};

// One row of output. firsts[ow]: how far the first column inside the image lies from the window's, or -1.
template <class T, bool kIndices, bool kNan>
void pool_row(const Pool2d& p, const PoolRing<T>& ring, const PoolRows<T>& rows, const T* firsts, T* y,
              std::int32_t* indices) {
  for_vectors<T>(p.ow, [&](i64 ow, i64 count) {
    Vec<T> best = broadcast(T(-__builtin_inff()));
    VecInt<T> first, index{};
    if constexpr (kIndices) {
      std::memcpy(&first, firsts + ow, sizeof first);
      index = first + static_cast<Int<T>>(rows.count > 0 ? rows.offset[0] : 0);
    }
    for (i64 i = 0; i < rows.count; ++i) {
      const T* const row = rows.row[i] + ow;
      i64 tap = rows.offset[i];
      for (i64 k = 0; k < p.kw; ++k, tap += p.dilation_w) {
        const Vec<T> v = load(row + ring.taps[k]);
        const auto wins = kNan ? ~(v <= best) & (best == best) : v > best;
        if constexpr (kIndices) index = wins ? VecInt<T>{} + static_cast<Int<T>>(tap) : index;
        best = kNan ? (wins ? v : best) : maximum<T>(v, best);
      }
    }
    store_n(y + ow, best, count);
    if constexpr (kIndices) {
      const VecInt<T> columns =
          lane_numbers<T>() * static_cast<Int<T>>(p.stride_w) + static_cast<Int<T>>(ow * p.stride_w - p.pad_left);
      store_indices(indices + ow, (first < 0) | (rows.count == 0) ? VecInt<T>{} - 1 : index + columns, count);
    }
  });
}

// One output by its window: where few outputs stand side by side, or too far apart for a split row to pay.
template <class T>
JADRO_INLINE T pool_window(const Pool2d& p, const T* x, i64 top, i64 bottom, i64 left, i64 right, std::int32_t* index) {
  T best = -__builtin_inff();
  *index = -1;
  if (top < 0 || left < 0) return best;
  for (i64 h = top; h < bottom; h += p.dilation_h) {
    for (i64 w = left; w < right; w += p.dilation_w) {
      const T v = x[h * p.iw + w];
      if (*index >= 0 && (v <= best || best != best)) continue;
      best = v;
      *index = static_cast<std::int32_t>(h * p.iw + w);
    }
  }
  return best;
}

// The windows of one row of output, one by one.
template <class T>
JADRO_INLINE void pool_windows(const Pool2d& p, const T* x, i64 top, i64 end, T* y, std::int32_t* indices) {
  for (i64 ow = 0; ow < p.ow; ++ow) {
    const i64 begin = ow * p.stride_w - p.pad_left;
    std::int32_t index;
    y[ow] = pool_window(p, x, top, end, first_inside(begin, p.dilation_w, p.kw, p.iw),
                        min(begin + (p.kw - 1) * p.dilation_w + 1, p.iw), &index);
    if (indices) indices[ow] = index;
  }
}

// Rows of y[planes * oh, ow] and of indices, which may be null, from x[planes,ih,iw].
template <class T>
void max_pool2d_forward(const Pool2d& p, const T* x, Range rows, T* y, std::int32_t* indices, T* scratch) {
  const PoolRing<T> ring(p);
  T* const firsts = scratch + ring.firsts;
  const auto split = p.stride_w == 1 ? split_rows<T, 1> : p.stride_w == 2 ? split_rows<T, 2> : split_rows<T, 0>;
  if (ring.used) {
    for (i64 i = 0; i < ring.firsts; i += kLanes<T>) store(scratch + i, broadcast(T(-__builtin_inff())));
    for (i64 ow = 0; ow < p.ow; ++ow) {
      const i64 begin = ow * p.stride_w - p.pad_left, inside = first_inside(begin, p.dilation_w, p.kw, p.iw);
      const Int<T> distance = static_cast<Int<T>>(inside < 0 ? -1 : inside - begin);
      std::memcpy(firsts + ow, &distance, sizeof distance);
    }
  }
  i64 filled = 0, nan = -1;  // rows of the plane that the ring has seen; no NaN is in those from nan + 1 on
  i64 plane = rows.begin / p.oh, oh = rows.begin % p.oh;
  for (i64 r = rows.begin; r < rows.end; ++r, ++oh) {
    if (oh == p.oh) {
      ++plane;
      oh = 0;
      filled = 0;
      nan = -1;
    }
    const i64 begin = oh * p.stride_h - p.pad_top;
    const T* const image = x + plane * p.ih * p.iw;
    const i64 top = first_inside(begin, p.dilation_h, p.kh, p.ih);
    const i64 end = top < 0 ? -1 : min(begin + (p.kh - 1) * p.dilation_h + 1, p.ih);
    T* const out = y + r * p.ow;
    std::int32_t* const index = indices ? indices + r * p.ow : nullptr;
    if (!ring.used) {
      pool_windows(p, image, top, end, out, index);
      continue;
    }
    filled = max(filled, begin);
    if (filled < end) {
      if (split(p, ring, image, {filled, end}, scratch)) nan = end - 1;
      filled = end;
    }
    PoolRows<T> window;
    window.count = 0;
    window.nan = nan >= 0 && nan >= begin;
    for (i64 h = top; h < end; h += p.dilation_h) {
      window.row[window.count] = scratch + ring.place(h);
      window.offset[window.count++] = h * p.iw;
    }
    const auto row = window.nan ? index ? pool_row<T, true, true> : pool_row<T, false, true>
                     : index    ? pool_row<T, true, false>
                                : pool_row<T, false, false>;
    row(p, ring, window, firsts, out, index);
  }
}

// Whether every index is that of a place of a plane of `size`, or -1.
inline bool max_pool2d_indices_inside(const std::int32_t* indices, i64 count, i64 size) {
  u32 outside = 0;
  for (i64 i = 0; i < count; ++i) outside |= static_cast<u32>(indices[i]) + 1 > static_cast<u32>(size);
  return outside == 0;
}

// dx[planes,size] = each dy[planes,outputs] added, in order, to the place of its index; -1 is none. With scratch[size]
// a plane is made there and then stored past the caches.
template <class T>
void max_pool2d_backward(const T* dy, const std::int32_t* indices, Range planes, i64 outputs, i64 size, T* dx,
                         T* scratch) {
  for (i64 plane = planes.begin; plane < planes.end; ++plane) {
    T* const d = scratch ? scratch : dx + plane * size;
    const T* const g = dy + plane * outputs;
    const std::int32_t* const index = indices + plane * outputs;
    std::memset(d, 0, static_cast<std::size_t>(size) * sizeof(T));
    for (i64 i = 0; i < outputs; ++i) {
      if (static_cast<u64>(index[i]) < static_cast<u64>(size)) d[index[i]] += g[i];
    }
    if (scratch) map_vectors(dx + plane * size, size, true, [&](i64 i, i64 count) { return load_n(d + i, count); });
  }
}

}  // namespace
}  // namespace jadro
