// ReLU and its kin as the end of another operation.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// v of a channel, a number or a vector of them, rectified; NaN stays NaN.
template <class T, class V>
JADRO_INLINE V rectified(const Rectifier<T>& r, i64 channel, V v) {
  if (!r.on) return v;
  v = v < T(0) ? (r.slope ? v * r.slope[channel] : V{}) : v;
  return v > r.most ? V{} + r.most : v;
}

}  // namespace
}  // namespace jadro
