// ReLU and its kin as the end of another operation.
#pragma once

#include "core/shapes.h"
#include "cuda/math.h"

namespace jadro::cuda {

// v of channel c rectified; NaN stays NaN.
template <class T, class V>
__device__ V rectified(const Rectifier<T, V>& r, i64 c, V v) {
  if (!r.on) return v;
  if (v <= V(0)) v = r.slope ? v * static_cast<V>(r.slope[c]) : V(0);
  return v > r.most ? r.most : v;
}
// What passes of the gradient g of a result v.
template <class T, class V>
__device__ V rectified_gradient(const Rectifier<T, V>& r, i64 c, V v, V g) {
  if (v > V(0)) return v < r.most ? g : V(0);
  return r.slope ? product(static_cast<V>(r.slope[c]), g) : V(0);
}

}  // namespace jadro::cuda
