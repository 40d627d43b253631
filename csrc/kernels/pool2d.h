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
// kept in a ring as high as a window.
struct PoolRing {
  i64 width;   // elements of a phase
  i64 row;     // elements of a row: all phases
  i64 height;  // rows
  i64 taps;    // offset of the table of the first column in each window, behind the rows

  JADRO_INLINE PoolRing(const Pool2d& p, i64 lanes)
      : width(ceil_div(max(p.pad_left + p.iw, (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1), p.stride_w) +
              2 * lanes),
        row(width * p.stride_w),
        height(min((p.kh - 1) * p.dilation_h + 1, p.ih)),
        taps(row * height) {}
};

template <class T>
i64 max_pool2d_scratch(const Pool2d& p) {
  const PoolRing ring(p, kLanes<T>);
  return ring.taps + ceil_div(p.ow, kLanes<T>) * kLanes<T>;
}

// The even and the odd elements of two vectors.
template <class T>
JADRO_INLINE void deinterleave(Vec<T> a, Vec<T> b, Vec<T>* even, Vec<T>* odd) {
  const VecInt<T> numbers = 2 * lane_numbers<T>();
  *even = __builtin_shuffle(a, b, numbers);
  *odd = __builtin_shuffle(a, b, numbers + 1);
}

template <class T>
JADRO_INLINE Vec<T> load_or_lowest(const T* p, i64 count) {
  const T lowest = -__builtin_inff();
  if (count >= kLanes<T>) return load(p);
  return count <= 0 ? broadcast(lowest) : keep_part<T>(load_part(p, count), count, lowest);
}

// A row x[iw] of the image into the ring. Whole vectors are written: the ring has room for them, and above the row they
// hold -inf.
template <class T>
JADRO_INLINE void split_row(const Pool2d& p, const PoolRing& ring, const T* x, T* to) {
  constexpr i64 kN = kLanes<T>;
  if (p.stride_w == 1) {
    T* const inside = to + p.pad_left;
    for (i64 i = 0; i < p.iw; i += kN) store(inside + i, load_or_lowest(x + i, p.iw - i));
    return;
  }
  const auto phase = [&](i64 column) {
    return to + (column + p.pad_left) % p.stride_w * ring.width + (column + p.pad_left) / p.stride_w;
  };
  if (p.stride_w == 2) {
    T *const even = phase(0), *const odd = phase(1);
    for (i64 i = 0; 2 * i < p.iw; i += kN) {
      Vec<T> a, b;
      deinterleave<T>(load_or_lowest(x + 2 * i, p.iw - 2 * i), load_or_lowest(x + 2 * i + kN, p.iw - 2 * i - kN), &a,
                      &b);
      store(even + i, a);
      store(odd + i, b);
    }
    return;
  }
  for (i64 column = 0; column < min(p.stride_w, p.iw); ++column) {
    T* const one = phase(column);
    for (i64 i = 0; column + i * p.stride_w < p.iw; ++i) one[i] = x[column + i * p.stride_w];
  }
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

// One row of output from the rows of the ring. top is the first row of the window inside the image, slot its place in
// the ring, end the row behind the last; first[ow] the first column inside the image, kIndices whether indices are
// wanted.
template <class T, bool kIndices>
JADRO_INLINE void pool_row(const Pool2d& p, const PoolRing& ring, const T* rows, const T* first, i64 top, i64 end, T* y,
                           std::int32_t* indices) {
  const i64 phase_step = p.dilation_w % p.stride_w, column_step = p.dilation_w / p.stride_w;
  const i64 first_slot = top < 0 ? 0 : top % ring.height;
  for_vectors<T>(p.ow, [&](i64 ow, i64 count) {
    Vec<T> best = broadcast(T(-__builtin_inff()));
    VecInt<T> index;
    std::memcpy(&index, first + ow, sizeof index);
    index = (index < 0) | (top < 0) ? VecInt<T>{} - 1 : index + static_cast<Int<T>>(top * p.iw);
    const VecInt<T> place =
        lane_numbers<T>() * static_cast<Int<T>>(p.stride_w) + static_cast<Int<T>>(ow * p.stride_w - p.pad_left);
    i64 slot = first_slot;
    for (i64 h = top; h < end; h += p.dilation_h) {
      const T* row = rows + slot * ring.row + ow;
      slot += p.dilation_h;
      if (slot >= ring.height) slot -= ring.height;
      i64 phase = 0, column = 0, tap = h * p.iw;
      for (i64 k = 0; k < p.kw; ++k, tap += p.dilation_w) {
        const Vec<T> v = load(row + phase * ring.width + column);
        const auto wins = ~(v <= best) & (best == best);
        best = wins ? v : best;
        if constexpr (kIndices) index = wins ? place + static_cast<Int<T>>(tap) : index;
        phase += phase_step;
        column += column_step;
        if (phase >= p.stride_w) {
          phase -= p.stride_w;
          ++column;
        }
      }
    }
    store_n(y + ow, best, count);
    if constexpr (kIndices) store_indices(indices + ow, index, count);
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

// Rows of y[planes * oh, ow] and of indices, which may be null, from x[planes,ih,iw].
template <class T>
void max_pool2d_forward(const Pool2d& p, const T* x, Range rows, T* y, std::int32_t* indices, T* scratch) {
  constexpr i64 kFarthest = 8;
  const PoolRing ring(p, kLanes<T>);
  const bool by_rows = p.ow >= kLanes<T> / 4 && p.stride_w <= kFarthest;
  const auto left = [&](i64 ow) { return first_inside(ow * p.stride_w - p.pad_left, p.dilation_w, p.kw, p.iw); };
  if (by_rows) {
    for (i64 i = 0; i < ring.taps; i += kLanes<T>) store(scratch + i, broadcast(T(-__builtin_inff())));
    for (i64 ow = 0; ow < p.ow; ++ow) {
      const Int<T> column = static_cast<Int<T>>(left(ow));
      std::memcpy(scratch + ring.taps + ow, &column, sizeof column);
    }
  }
  i64 filled = 0;  // rows of the plane that the ring has seen
  for (i64 r = rows.begin; r < rows.end; ++r) {
    const i64 plane = r / p.oh, oh = r % p.oh, begin = oh * p.stride_h - p.pad_top;
    const T* const image = x + plane * p.ih * p.iw;
    const i64 top = first_inside(begin, p.dilation_h, p.kh, p.ih);
    const i64 end = top < 0 ? -1 : min(begin + (p.kh - 1) * p.dilation_h + 1, p.ih);
    T* const out = y + r * p.ow;
    std::int32_t* const index = indices ? indices + r * p.ow : nullptr;
    if (!by_rows) {
      for (i64 ow = 0; ow < p.ow; ++ow) {
        std::int32_t found;
        const i64 right = min(ow * p.stride_w - p.pad_left + (p.kw - 1) * p.dilation_w + 1, p.iw);
        out[ow] = pool_window(p, image, top, end, left(ow), right, &found);
        if (index) index[ow] = found;
      }
      continue;
    }
    if (oh == 0) filled = 0;
    for (filled = max(filled, begin); filled < end; ++filled) {
      split_row(p, ring, image + filled * p.iw, scratch + filled % ring.height * ring.row);
    }
    const T* const first = scratch + ring.taps;
    if (index) {
      pool_row<T, true>(p, ring, scratch, first, top, end, out, index);
    } else {
      pool_row<T, false>(p, ring, scratch, first, top, end, out, index);
    }
  }
}

// dx[planes,size] = each dy[planes,outputs] added, in order, to the place of its index; -1 is none. Other places
// outside the plane are skipped and counted.
template <class T>
i64 max_pool2d_backward(const T* dy, const std::int32_t* indices, Range planes, i64 outputs, i64 size, T* dx) {
  i64 outside = 0;
  for (i64 plane = planes.begin; plane < planes.end; ++plane) {
    T* const d = dx + plane * size;
    const T* const g = dy + plane * outputs;
    const std::int32_t* const index = indices + plane * outputs;
    std::memset(d, 0, static_cast<std::size_t>(size) * sizeof(T));
    for (i64 i = 0; i < outputs; ++i) {
      if (static_cast<u64>(index[i]) < static_cast<u64>(size)) {
        d[index[i]] += g[i];
      } else {
        outside += index[i] != -1;
      }
    }
  }
  return outside;
}

}  // namespace
}  // namespace jadro
