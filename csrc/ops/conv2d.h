#pragma once

#include <string>

#include "core/kernel_table.h"

namespace jadro {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col, kWinograd };

// Winograd's form has images, filters of 3x3 or 5x5, stride 1 and dilation 1.
inline bool winograd_serves(const Conv2d& s) {
  return s.d.in == 1 && s.d.kernel == 1 && s.d.out == 1 && s.d.before == 0 && (s.h.kernel == 3 || s.h.kernel == 5) &&
         s.w.kernel == s.h.kernel && s.h.stride == 1 && s.w.stride == 1 && s.h.dilation == 1 && s.w.dilation == 1;
}

template <class T>
void conv2d_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                    Conv2dAlgorithm algorithm);
// The epilogue, which makes this a transposed convolution, goes with padding by zeros only.
template <class T>
void conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                          Conv2dAlgorithm algorithm);
// dw and db may be null.
template <class T>
void conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm);

}  // namespace jadro
