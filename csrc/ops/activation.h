#pragma once

#include "core/shapes.h"

namespace jadro {

// y[n] = f(x); y may be x.
template <class T>
void activation_forward(Activation f, const T* x, T* y, i64 n);

// dx[n] = dy f'(x) from y = f(x); dx may be dy.
template <class T>
void activation_backward(Activation f, const T* dy, const T* y, T* dx, i64 n);

}  // namespace jadro
