// Max pooling of 2x2 windows of stride 2 inside the image, the commonest ones.
#pragma once

#include <type_traits>

#include "kernels/pool_phases.h"

namespace jadro {
namespace {

template <class T>
using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, i64>;

JADRO_INLINE void store_indices(std::int32_t* to, VecInt<float> v, i64 count) {
  Vec<float> bits;
  std::memcpy(&bits, &v, sizeof v);
  store_n(reinterpret_cast<float*>(to), bits, count);
}
JADRO_INLINE void store_indices(std::int32_t* to, VecInt<double> v, i64 count) {
  for (i64 i = 0; i < count; ++i) to[i] = static_cast<std::int32_t>(v[i]);
}

// Whether all windows are such, in rows of a vector at least.
template <class T>
bool are_pairs(const Pool2d& p) {
  const bool square = p.kd == 1 && p.kh == 2 && p.kw == 2 && p.dilation_h == 1 && p.dilation_w == 1;
  const bool even = p.stride_d == 1 && p.stride_h == 2 && p.stride_w == 2 && !p.adaptive;
  const bool inside =
      (p.pad_front | p.pad_top | p.pad_left) == 0 && p.od == p.id && 2 * p.oh <= p.ih && 2 * p.ow <= p.iw;
  return square && even && inside && p.ow >= kLanes<T>;
}

// Rows of y and, with kIndices, of indices; the last vector of a row may overlap the one before. False for a NaN.
template <class T, bool kIndices>
bool pool_pairs(const Pool2d& p, const T* x, Range rows, T* y, std::int32_t* indices) {
  constexpr i64 kN = kLanes<T>;
  const VecInt<T> even = 2 * lane_numbers<T>();
  const Int<T> taps[] = {0, 1, static_cast<Int<T>>(p.iw), static_cast<Int<T>>(p.iw + 1)};
  VecInt<T> nan{};
  for (RowCounter at(rows.begin, p.oh, 1); at.row < rows.end; at.next()) {
    const T* const upper = x + (at.plane * p.ih + 2 * at.h) * p.iw;
    T* const to = y + at.row * p.ow;
    for (i64 o = 0;; o = min(o + kN, p.ow - kN)) {
      Vec<T> row[2][2], best[2];
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        row[0][k] = load(upper + 2 * o + k * kN), row[1][k] = load(upper + p.iw + 2 * o + k * kN);
        nan |= (row[0][k] != row[0][k]) | (row[1][k] != row[1][k]);
        best[k] = maximum<T>(row[1][k], row[0][k]);
      }
      if constexpr (kIndices) {
        Vec<T> top = __builtin_shuffle(row[0][0], row[0][1], even);
        VecInt<T> index{};
#pragma GCC unroll 4
        for (int tap = 1; tap < 4; ++tap) {
          const Vec<T> v = __builtin_shuffle(row[tap / 2][0], row[tap / 2][1], even + tap % 2);
          index = v > top ? VecInt<T>{} + taps[tap] : index;
          top = maximum<T>(v, top);
        }
        store(to + o, top);
        store_indices(indices + at.row * p.ow + o, index + even + static_cast<Int<T>>(2 * (at.h * p.iw + o)), kN);
      } else {
        const Vec<T> left = __builtin_shuffle(best[0], best[1], even);
        store(to + o, maximum<T>(left, __builtin_shuffle(best[0], best[1], even + 1)));
      }
      if (o + kN >= p.ow) break;
    }
  }
  return !any_lane<T>(nan);
}

}  // namespace
}  // namespace jadro
