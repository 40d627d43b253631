#pragma once

#include <string>

#include "core/shapes.h"

namespace jadro {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col };

template <class T>
void conv2d_forward(const Conv2d& shape, const T* x, const T* w, const T* bias, T* y, bool relu,
                    Conv2dAlgorithm algorithm);
template <class T>
void conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, Conv2dAlgorithm algorithm);
// dw and db may be null.
template <class T>
void conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db);

}  // namespace jadro
