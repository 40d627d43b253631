#pragma once

#include <string>

#include "core/kernel_table.h"

namespace jadro {

enum class Conv2dAlgorithm { kAuto, kDirect, kIm2col, kWinograd };

// Winograd's form has filters of 3x3 or 5x5, whatever their depth, stride 1 and dilation 1.
inline bool winograd_serves(const Conv2d& s) {
  const auto plain = [](const Conv2dAxis& a) { return a.stride == 1 && a.dilation == 1; };
  return (s.h.kernel == 3 || s.h.kernel == 5) && s.w.kernel == s.h.kernel && plain(s.d) && plain(s.h) && plain(s.w);
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
