// Sums, sums of squares and extremes of rows, and of columns, of a matrix. Runs are short enough to be summed in T.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// Sums, of squares where `squares`, and maxima, of x times a sign: what is shared by two reductions.
template <class T>
struct Sums {
  static constexpr T kNothing = 0;
  VecInt<T> squares;
  JADRO_INLINE Vec<T> fold(Vec<T> y, Vec<T> x) const { return y + x * (squares ? x : broadcast(T(1))); }
  JADRO_INLINE static Vec<T> join(Vec<T> a, Vec<T> b) { return a + b; }
  template <class V>
  JADRO_INLINE static V result(V y) {
    return y;
  }
};
template <class T>
struct Maxima {
  static constexpr T kNothing = -__builtin_inff();
  T sign;
  JADRO_INLINE Vec<T> fold(Vec<T> y, Vec<T> x) const { return join(y, x * sign); }
  JADRO_INLINE static Vec<T> join(Vec<T> a, Vec<T> b) { return (b > a) | (b != b) ? b : a; }
  template <class V>
  JADRO_INLINE V result(V y) const {
    return y * sign;
  }
};

template <class T, class F>
JADRO_INLINE void with_reduction(Reduction what, F f) {
  if (what == Reduction::kSum || what == Reduction::kSquares) {
    f(Sums<T>{VecInt<T>{} - (what == Reduction::kSquares)});
  } else {
    f(Maxima<T>{what == Reduction::kMin ? T(-1) : T(1)});
  }
}

// y[r] from row r of x[rows,n].
template <class T>
void reduce_rows(Reduction what, const T* x, i64 n, i64 rows, T* y) {
  constexpr i64 kN = kLanes<T>;
  with_reduction<T>(what, [=](auto r) {
    for (i64 row = 0; row < rows; ++row) {
      const T* const from = x + row * n;
      const Vec<T> nothing = broadcast(r.kNothing);
      Vec<T> v[4] = {nothing, nothing, nothing, nothing};
      i64 i = 0;
      for (; i + 4 * kN <= n; i += 4 * kN) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) v[k] = r.fold(v[k], load(from + i + k * kN));
      }
      for (; i + kN <= n; i += kN) v[0] = r.fold(v[0], load(from + i));
      if (i < n) {
        const Vec<T> last = r.fold(v[1], load_part(from + i, n - i));
        v[1] = lane_numbers<T>() < static_cast<int>(n - i) ? last : v[1];
      }
      const Vec<T> all = r.join(r.join(v[0], v[1]), r.join(v[2], v[3]));
      y[row] = r.result(reduce_lanes<T>(all, [=](Vec<T> a, Vec<T> b) { return r.join(a, b); }));
    }
  });
}

// y[c] from column c of x, n rows of `columns` numbers, `stride` apart.
template <class T>
void reduce_columns(Reduction what, const T* x, i64 n, i64 stride, i64 columns, T* y) {
  constexpr i64 kN = kLanes<T>;
  with_reduction<T>(what, [=](auto r) {
    const Vec<T> nothing = broadcast(r.kNothing);
    i64 c = 0;
    for (; c + 4 * kN <= columns; c += 4 * kN) {
      Vec<T> v[4] = {nothing, nothing, nothing, nothing};
      for (i64 k = 0; k < n; ++k) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) v[j] = r.fold(v[j], load(x + k * stride + c + j * kN));
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) store(y + c + j * kN, r.result(v[j]));
    }
    for (; c < columns; c += kN) {
      const i64 count = min(kN, columns - c);
      Vec<T> v = nothing;
      for (i64 k = 0; k < n; ++k) v = r.fold(v, load_n(x + k * stride + c, count));
      store_n(y + c, r.result(v), count);
    }
  });
}

// place[r]: the first of row r of x[rows,n] that is value[r], or NaN.
template <class T>
void find_in_rows(const T* x, i64 n, i64 rows, const T* value, i64* place) {
  for (i64 r = 0; r < rows; ++r) {
    const T* const row = x + r * n;
    const T wanted = value[r];
    const auto is_there = [=](auto v) { return (v == wanted) | (v != v); };
    i64 i = 0;
    while (i + kLanes<T> <= n && !any_lane<T>(is_there(load(row + i)))) i += kLanes<T>;
    while (i + 1 < n && !is_there(row[i])) ++i;
    place[r] = i;
  }
}

}  // namespace
}  // namespace jadro
