// The steps of the optimizers, one template over the rule of the update (update_rules.h), and what clips gradients.
#pragma once

#include "kernels/simd.h"
#include "kernels/update_rules.h"

namespace jadro {
namespace {

template <class T, class Rule>
void optim_step(const OptimStep<T>& o, const OptimParameter<T>& a, Range range) {
  for_vectors<T>(range.end - range.begin, [&](i64 first, i64 count) {
    const i64 i = range.begin + first;
    const Vec<T> p = load_n(a.p + i, count) * o.shrink;
    const Vec<T> g = o.sign * load_n(a.g + i, count) + o.decay * p;
    Vec<T> s[Rule::kStates + 1];
    for (int k = 0; k < Rule::kStates; ++k) s[k] = load_n(a.state[k] + i, count);
    store_n(a.p + i, p - Rule::update(o, g, s), count);
    for (int k = 0; k < Rule::kStates; ++k) store_n(a.state[k] + i, s[k], count);
  });
}

// The sum of |x| or of x^2 in kParts partial sums, or the largest |x|, NaN where there is one.
template <class T>
double grad_norm(Norm norm, const T* x, i64 n) {
  constexpr int kParts = 16;
  double part[kParts] = {};
  const auto add = [&](auto f) {
    i64 i = 0;
    for (; i + kParts <= n; i += kParts) {
      for (int j = 0; j < kParts; ++j) part[j] = f(part[j], static_cast<double>(x[i + j]));
    }
    for (int j = 0; i + j < n; ++j) part[j] = f(part[j], static_cast<double>(x[i + j]));
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int j = 0; j < half; ++j) {
        part[j] = norm == Norm::kLargest ? f(part[j], part[j + half]) : part[j] + part[j + half];
      }
    }
    return part[0];
  };
  if (norm == Norm::kSquares) return add([](double a, double v) { return a + v * v; });
  if (norm == Norm::kSizes) return add([](double a, double v) { return a + __builtin_fabs(v); });
  return add([](double a, double v) { return __builtin_fabs(v) > a || v != v ? __builtin_fabs(v) : a; });
}

// x = min(max(scale x, low), high); NaN stays.
template <class T>
void grad_clip(T scale, T low, T high, T* x, i64 n) {
  for_vectors<T>(n, [&](i64 i, i64 count) {
    Vec<T> v = scale * load_n(x + i, count);
    v = v < low ? broadcast<T>(low) : v;
    store_n(x + i, v > high ? broadcast<T>(high) : v, count);
  });
}

}  // namespace
}  // namespace jadro
