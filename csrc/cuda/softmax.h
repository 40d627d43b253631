#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// y from x[outer,n,inner], along n.
template <class T>
cudaError_t softmax_forward(const Softmax& shape, const T* x, T* y, cudaStream_t stream);

// dx from dy and y.
template <class T>
cudaError_t softmax_backward(const Softmax& shape, const T* dy, const T* y, T* dx, cudaStream_t stream);

}  // namespace jadro::cuda
