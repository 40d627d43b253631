#pragma once

#include "core/shapes.h"

namespace jadro {

// y[outer,inner] from x[outer,n,inner].
template <class T>
void reduce(Reduction what, const ReducedShape& s, const T* x, T* y);

// Of inner 1: the extremes, and the place of the first of each.
template <class T>
void reduce_places(Reduction what, const ReducedShape& s, const T* x, T* y, i64* place);

// y = sum (x - mean)^2 / divisor
template <class T>
void variance(const ReducedShape& s, double divisor, const T* x, T* y);

}  // namespace jadro
