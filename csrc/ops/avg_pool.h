#pragma once

#include "core/shapes.h"

namespace jadro {

template <class T>
void avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y);
template <class T>
void avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx);

}  // namespace jadro
