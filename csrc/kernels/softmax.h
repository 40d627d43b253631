// Softmax and its logarithm along an axis of x[outer,n,inner]: lanes run along the axis where it is the last one, else
// beside it.
#pragma once

#include "kernels/cross_entropy.h"

namespace jadro {
namespace {

template <class T>
JADRO_INLINE Vec<T> vlog(Vec<T> v) {
  for (int i = 0; i < kLanes<T>; ++i) v[i] = scalar_log(v[i]);
  return v;
}

// f(offset of the first element, lanes) for the items: rows of n, or vectors of neighbours, each n elements apart.
template <class T, class F>
JADRO_INLINE void for_columns(const Softmax& s, Range items, F f) {
  const i64 vectors = ceil_div(s.inner, kLanes<T>);
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 first = item % vectors * kLanes<T>;
    f(item / vectors * s.n * s.inner + first, min(kLanes<T>, s.inner - first));
  }
}

// How many items there are.
template <class T>
i64 softmax_items(const Softmax& s) {
  return s.inner == 1 ? s.outer : s.outer * ceil_div(s.inner, kLanes<T>);
}

// y = exp(x - peak) / sum, or x - peak - log(sum): peak the largest along the axis, sum that of exp(x - peak).
template <class T>
void softmax_forward(const Softmax& s, const T* x, Range items, T* y) {
  if (s.inner == 1) {
    for (i64 r = items.begin; r < items.end; ++r) {
      const T* const from = x + r * s.n;
      T* const to = y + r * s.n;
      const T peak = row_max(from, s.n);
      Vec<T> sums{};
      for_vectors<T>(s.n, [&](i64 i, i64 count) {
        const Vec<T> v = load_n(from + i, count) - peak, e = vexp<T>(v);
        sums += keep_part<T>(e, count, T(0));
        store_n(to + i, s.log ? v : e, count);
      });
      const T sum = sum_lanes<T>(sums), shift = s.log ? scalar_log(sum) : T(1) / sum;
      for_vectors<T>(s.n, [&](i64 i, i64 count) {
        const Vec<T> v = load_n(to + i, count);
        store_n(to + i, s.log ? v - shift : v * shift, count);
      });
    }
    return;
  }
  for_columns<T>(s, items, [&](i64 at, i64 count) {
    Vec<T> peak = load_n(x + at, count), sum{};
    for (i64 k = 1; k < s.n; ++k) {
      const Vec<T> v = load_n(x + at + k * s.inner, count);
      peak = v > peak ? v : peak;
    }
    for (i64 k = 0; k < s.n; ++k) {
      const Vec<T> v = load_n(x + at + k * s.inner, count) - peak, e = vexp<T>(v);
      sum += e;
      store_n(y + at + k * s.inner, s.log ? v : e, count);
    }
    const Vec<T> shift = s.log ? vlog<T>(keep_part<T>(sum, count, T(1))) : T(1) / sum;
    for (i64 k = 0; k < s.n; ++k) {
      const Vec<T> v = load_n(y + at + k * s.inner, count);
      store_n(y + at + k * s.inner, s.log ? v - shift : v * shift, count);
    }
  });
}

// dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy) for the logarithm.
template <class T>
void softmax_backward(const Softmax& s, const T* dy, const T* y, Range items, T* dx) {
  const auto term = [&](i64 i, i64 count) {
    const Vec<T> g = load_n(dy + i, count);
    return s.log ? g : g * load_n(y + i, count);
  };
  const auto result = [&](i64 i, i64 count, Vec<T> sum) {
    const Vec<T> g = load_n(dy + i, count), v = load_n(y + i, count);
    return s.log ? g - vexp<T>(v) * sum : v * (g - sum);
  };
  if (s.inner == 1) {
    for (i64 r = items.begin; r < items.end; ++r) {
      const i64 row = r * s.n;
      Vec<T> sums{};
      for_vectors<T>(s.n, [&](i64 i, i64 count) { sums += keep_part<T>(term(row + i, count), count, T(0)); });
      const Vec<T> sum = broadcast(sum_lanes<T>(sums));
      for_vectors<T>(s.n, [&](i64 i, i64 count) { store_n(dx + row + i, result(row + i, count, sum), count); });
    }
    return;
  }
  for_columns<T>(s, items, [&](i64 at, i64 count) {
    Vec<T> sum{};
    for (i64 k = 0; k < s.n; ++k) sum += term(at + k * s.inner, count);
    for (i64 k = 0; k < s.n; ++k) store_n(dx + at + k * s.inner, result(at + k * s.inner, count, sum), count);
  });
}

}  // namespace
}  // namespace jadro
