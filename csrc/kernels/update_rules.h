// The rules of the optimizers on vectors of elements. Vec<T> and vsqrt are those of the simd.h that comes before, the
// CPU's or, vectors of one, CUDA's.
#pragma once

#include "core/shapes.h"

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

}  // namespace
}  // namespace jadro
