#pragma once

#include <string>

#include "core/kernel_table.h"

namespace jadro {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col, kWinograd };

// Winograd's form has filters of 3x3 or 5x5, stride 1 and dilation 1.
inline bool winograd_serves(const Conv2d& s) {
  return (s.kh == 3 || s.kh == 5) && s.kw == s.kh && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 &&
         s.dilation_w == 1;
}

template <class T>
void conv2d_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                    Conv2dAlgorithm algorithm);
template <class T>
void conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, Conv2dAlgorithm algorithm);
// dw and db may be null.
template <class T>
void conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm);

}  // namespace jadro
