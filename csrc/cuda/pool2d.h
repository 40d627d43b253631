#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// Both only enqueue work on the stream and return what the launch returned. Planes of x and of y have less than 2^31
// elements.

// y[planes,oh,ow] and indices, which may be null, from x[planes,ih,iw].
template <class T>
cudaError_t max_pool2d_forward(const Pool2d& problem, const T* x, T* y, std::int32_t* indices, cudaStream_t stream);

// dx[planes,ih,iw] from dy and indices [planes,oh,ow]. An index that lies outside its window adds to nothing.
template <class T>
cudaError_t max_pool2d_backward(const Pool2d& problem, const T* dy, const std::int32_t* indices, T* dx,
                                cudaStream_t stream);

}  // namespace jadro::cuda
