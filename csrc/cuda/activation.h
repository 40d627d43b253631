#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// y[n] = f(x), with the function's numbers a and b. y may be x.
template <class T>
cudaError_t activation_forward(Activation f, Sum<T> a, Sum<T> b, const T* x, T* y, i64 n, cudaStream_t stream);

// dx[n] = dy f', from v: y for relu, tanh and sigmoid, x for the others. dx may be dy.
template <class T>
cudaError_t activation_backward(Activation f, Sum<T> a, Sum<T> b, const T* dy, const T* v, T* dx, i64 n,
                                cudaStream_t stream);

}  // namespace jadro::cuda
