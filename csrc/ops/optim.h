#pragma once

#include <vector>

#include "core/shapes.h"

namespace jadro {

// All parameters as one run of elements, shared out in equal pieces.
template <class T>
void optim_step(OptimRule rule, const OptimStep<T>& step, const std::vector<OptimParameter<T>>& parameters);

// The sum of |x| or x^2 over all arrays, or the largest |x|; summed in pieces that the sizes alone decide.
template <class T>
double grad_norm(Norm norm, const std::vector<Span<T>>& arrays);

// x = min(max(scale x, low), high) for every element of all arrays.
template <class T>
void grad_clip(T scale, T low, T high, const std::vector<Span<T>>& arrays);

}  // namespace jadro
