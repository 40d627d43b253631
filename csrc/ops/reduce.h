#pragma once

#include "core/shapes.h"

namespace jadro {

// y[outer,inner] from x[outer,n,inner].
void reduce(Reduction what, const ReducedShape& s, const float* x, float* y);

// Of inner 1: the extremes, and the place of the first of each.
void reduce_places(Reduction what, const ReducedShape& s, const float* x, float* y, i64* place);

// y = sum (x - mean)^2 / divisor
void variance(const ReducedShape& s, double divisor, const float* x, float* y);

}  // namespace jadro
