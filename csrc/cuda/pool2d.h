#pragma once

#include "cuda/windows.h"

namespace jadro::cuda {

// All only enqueue work on the stream and return what the launch returned. An image is a volume of depth 1; volumes
// have less than 2^31 elements, so that an index of 32 bits finds each.

// y[planes,out] and indices, which may be null, from x[planes,in].
template <class T>
cudaError_t max_pool2d_forward(i64 planes, const Windows3& windows, const T* x, T* y, std::int32_t* indices,
                               cudaStream_t stream);

// dx[planes,in] from dy and indices [planes,out]. An index that lies outside its window adds to nothing.
template <class T>
cudaError_t max_pool2d_backward(i64 planes, const Windows3& windows, const T* dy, const std::int32_t* indices, T* dx,
                                cudaStream_t stream);

// y[planes,size] is 0 but for each of x[planes,count] at its index; the last of two with the same.
template <class T>
cudaError_t max_unpool2d_forward(i64 planes, i64 count, i64 size, const T* x, const std::int32_t* indices, T* y,
                                 cudaStream_t stream);

// dx[planes,count]: what stands in dy[planes,size] at each index, 0 where it is outside.
template <class T>
cudaError_t max_unpool2d_backward(i64 planes, i64 count, i64 size, const T* dy, const std::int32_t* indices, T* dx,
                                  cudaStream_t stream);

}  // namespace jadro::cuda
