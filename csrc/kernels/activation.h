// Activation functions, forward and from the output backward.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// y[n] = f(x), past the caches where asked. y may be x. NaN passes through relu.
template <class T>
void activation_forward(Activation f, const T* x, T* y, i64 n, bool past_caches) {
  const auto map = [&](auto function) {
    map_vectors(y, n, past_caches, [&](i64 i, i64 count) { return function(load_n(x + i, count)); });
  };
  switch (f) {
    case Activation::kRelu:
      return map([](Vec<T> v) { return v <= T(0) ? Vec<T>{} : v; });
    case Activation::kTanh:
      return map([](Vec<T> v) { return vtanh<T>(v); });
    case Activation::kSigmoid:
      return map([](Vec<T> v) { return vsigmoid<T>(v); });
  }
}

// dx[n] = dy f'(x), f' from y = f(x): relu [y > 0], tanh 1 - y^2, sigmoid y (1 - y). dx may be dy.
template <class T>
void activation_backward(Activation f, const T* dy, const T* y, T* dx, i64 n, bool past_caches) {
  const auto map = [&](auto function) {
    map_vectors(dx, n, past_caches,
                [&](i64 i, i64 count) { return function(load_n(dy + i, count), load_n(y + i, count)); });
  };
  switch (f) {
    case Activation::kRelu:
      return map([](Vec<T> g, Vec<T> v) { return v > T(0) ? g : Vec<T>{}; });
    case Activation::kTanh:
      return map([](Vec<T> g, Vec<T> v) { return g * (T(1) - v * v); });
    case Activation::kSigmoid:
      return map([](Vec<T> g, Vec<T> v) { return g * v * (T(1) - v); });
  }
}

}  // namespace
}  // namespace jadro
