#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col };

// What a finished result of channel o becomes: v scale[o] + bias[o] + add, add shaped as the result,
// rectified. Null pointers leave their part out.
template <class T>
struct Conv2dEpilogue {
  const T *bias, *scale, *add;
  Rectifier<T, Sum<T>> rectifier;
};

// Whether places along an axis, and the numbers of pixels and of filter elements, have 31 bits.
bool conv2d_fits(const Conv2d& shape);

// Bytes of scratch memory.
template <class T>
i64 conv2d_forward_scratch(const Conv2d& shape, Conv2dAlgorithm algorithm);
template <class T>
i64 conv2d_data_scratch(const Conv2d& shape, Conv2dAlgorithm algorithm);
template <class T>
i64 conv2d_weight_scratch(const Conv2d& shape, Conv2dAlgorithm algorithm);

// y from x and w, shaped as Conv2d says.
template <class T>
cudaError_t conv2d_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream);
// dx; with zero padding also as a transposed convolution, by its epilogue.
template <class T>
cudaError_t conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                                 Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream);
// dw, and db[oc], which may be null.
template <class T>
cudaError_t conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db,
                                   Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
