// Winograd's minimal filtering for a Conv2dPass; see kernels/conv2d_winograd.h.
#pragma once

#include "core/kernel_table.h"

namespace jadro {

// w [groups*out, in, w_taps], as the shape's pass has them. False where a result is not finite: then the caller
// computes it otherwise, as the transforms spread NaN and infinity over whole tiles.
template <class T>
bool winograd_product(const Winograd&, const T* src, const T* w, T* dst, const Conv2dEpilogue<T>& epilogue);
template <class T>
bool winograd_weight(const Winograd&, const T* src, const T* dy, T* dw);

}  // namespace jadro
