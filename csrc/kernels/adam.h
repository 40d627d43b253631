// The step of Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

template <class T>
void adam_step(const AdamStep<T>& s, const AdamParameter<T>& a, Range range) {
  for_vectors<T>(range.end - range.begin, [&](i64 first, i64 count) {
    const i64 i = range.begin + first;
    const Vec<T> p = load_n(a.p + i, count) * s.shrink;
    const Vec<T> g = load_n(a.g + i, count) + s.decay * p;
    const Vec<T> m = s.beta1 * load_n(a.m + i, count) + s.alpha1 * g;
    const Vec<T> v = s.beta2 * load_n(a.v + i, count) + s.alpha2 * g * g;
    store_n(a.m + i, m, count);
    store_n(a.v + i, v, count);
    store_n(a.p + i, p - s.rate * m / (vsqrt<T>(v) / s.root + s.eps), count);
  });
}

}  // namespace
}  // namespace jadro
