// The steps of the optimizers, one template over the rule of the update, and what clips gradients.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// A rule takes g, the gradient with its weight decay, updates the state s of its parameters and returns the difference
// that is taken off p. The numbers of a step stand in OptimStep.
template <class T, bool Momentum>
struct SgdRule {
  static constexpr int kStates = Momentum;
  static JADRO_INLINE Vec<T> update(const OptimStep<T>& o, Vec<T> g, Vec<T>* s) {
    if constexpr (!Momentum) return o.rate * g;
    s[0] = o.momentum * s[0] + o.alpha1 * g;
    return o.rate * (o.nesterov ? g + o.momentum * s[0] : s[0]);
  }
};

// Duchi et al. 2011.
template <class T>
struct AdagradRule {
  static constexpr int kStates = 1;
  static JADRO_INLINE Vec<T> update(const OptimStep<T>& o, Vec<T> g, Vec<T>* s) {
    s[0] += g * g;
    return o.rate * g / (vsqrt<T>(s[0]) + o.eps);
  }
};

// Tieleman and Hinton 2012; the states are v, with Centered the mean of g (Graves 2013), and with Momentum the buffer.
template <class T, bool Centered, bool Momentum>
struct RmspropRule {
  static constexpr int kStates = 1 + Centered + Momentum;
  static JADRO_INLINE Vec<T> update(const OptimStep<T>& o, Vec<T> g, Vec<T>* s) {
    s[0] = o.beta2 * s[0] + o.alpha2 * g * g;
    Vec<T> v = s[0];
    if constexpr (Centered) {
      s[1] += o.alpha2 * (g - s[1]);
      v -= s[1] * s[1];
    }
    Vec<T> d = g / (vsqrt<T>(v) + o.eps);
    if constexpr (Momentum) d = s[1 + Centered] = o.momentum * s[1 + Centered] + d;
    return o.rate * d;
  }
};

// Kingma and Ba 2015, Loshchilov and Hutter 2019; with Largest, Reddi et al. 2018. The states are m, v, the largest v.
template <class T, bool Largest>
struct AdamRule {
  static constexpr int kStates = 2 + Largest;
  static JADRO_INLINE Vec<T> update(const OptimStep<T>& o, Vec<T> g, Vec<T>* s) {
    s[0] = o.beta1 * s[0] + o.alpha1 * g;
    s[1] = o.beta2 * s[1] + o.alpha2 * g * g;
    if constexpr (Largest) s[2] = s[1] > s[2] || s[1] != s[1] ? s[1] : s[2];
    return o.rate * s[0] / (vsqrt<T>(s[kStates - 1]) / o.root + o.eps);
  }
};

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
