// A dilated convolution of stride 1 on images of every so many cells, one for each phase of the dilation: there its
// taps are neighbours, and Winograd's form serves them. False where the convolution is another, or that does not pay.
#pragma once

#include "ops/conv2d.h"

namespace jadro {

template <class T>
bool dilated_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                     Conv2dAlgorithm algorithm);
template <class T>
bool dilated_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm);
template <class T>
bool dilated_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, Conv2dAlgorithm algorithm);

}  // namespace jadro
