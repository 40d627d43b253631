#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col };

// What a finished result becomes: y scale[oc] + bias[oc] + add, add shaped as y, and with relu max(., 0). Null pointers
// leave their part out.
template <class T>
struct Conv2dEpilogue {
  const T *bias, *scale, *add;
  bool relu;
};

// Whether offsets inside a tensor's plane, and the number of its pixels, have 31 bits.
bool conv2d_fits(const Conv2d& shape);

// Bytes of scratch memory of the gradient of the weights.
template <class T>
i64 conv2d_weight_scratch(const Conv2d& shape, Conv2dAlgorithm algorithm);

// y[n,oc,oh,ow] from x[n,ic,ih,iw] and w[oc,ic/groups,kh,kw].
template <class T>
cudaError_t conv2d_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm, cudaStream_t stream);
template <class T>
cudaError_t conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, Conv2dAlgorithm algorithm,
                                 cudaStream_t stream);
// dw, and db[oc], which may be null.
template <class T>
cudaError_t conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db,
                                   Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
