#pragma once

#include <string>

#include "core/kernel_table.h"

namespace jadro {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col, kWinograd };

// Winograd's form has filters of 2x2, 3x3 or 5x5, whatever their depth, and stride 1, or of 3x3 to 6x6 and stride 2 on
// images, dilation 1.
inline bool winograd_serves(const Conv2d& s) {
  const i64 k = s.h.kernel, stride = s.h.stride;
  if (s.w.kernel != k || s.w.stride != stride || s.d.stride != 1) return false;
  if (stride == 1) return k == 2 || k == 3 || k == 5;
  if (s.d.dilation != 1 || s.h.dilation != 1 || s.w.dilation != 1) return false;
  return stride == 2 && k >= 3 && k <= 6 && s.d.in == 1 && s.d.kernel == 1;
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
