#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// y[n] = f(x). y may be x.
template <class T>
cudaError_t activation_forward(Activation f, const T* x, T* y, i64 n, cudaStream_t stream);

// dx[n] = dy f'(x), from y = f(x). dx may be dy.
template <class T>
cudaError_t activation_backward(Activation f, const T* dy, const T* y, T* dx, i64 n, cudaStream_t stream);

}  // namespace jadro::cuda
