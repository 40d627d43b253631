#pragma once

#include "core/shapes.h"

namespace jadro {

// y[outer,n,inner] from x, along n.
template <class T>
void softmax_forward(const Softmax& problem, const T* x, T* y);

// dx[outer,n,inner] from dy and y.
template <class T>
void softmax_backward(const Softmax& problem, const T* dy, const T* y, T* dx);

}  // namespace jadro
