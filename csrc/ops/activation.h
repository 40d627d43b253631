#pragma once

#include "core/shapes.h"

namespace jadro {

// A function and its numbers.
struct ActivationFunction {
  Activation f;
  double a, b;
};

// relu, tanh, sigmoid ...: the enum's names in Python's spelling; null behind the last.
const char* activation_name(int number);

// y[n] = f(x); y may be x.
template <class T>
void activation_forward(const ActivationFunction& f, const T* x, T* y, i64 n);

// dx[n] = dy f', from v = f(x) for relu, tanh and sigmoid, else from v = x; dx may be dy.
template <class T>
void activation_backward(const ActivationFunction& f, const T* dy, const T* v, T* dx, i64 n);

// y = x where x > 0, else w x: x of `shape`, w [c].
template <class T>
void prelu_forward(const ChannelShape& shape, const T* x, const T* w, T* y);

// dx of x and dw [c] from dy; either may be null.
template <class T>
void prelu_backward(const ChannelShape& shape, const T* dy, const T* x, const T* w, T* dx, T* dw);

}  // namespace jadro
