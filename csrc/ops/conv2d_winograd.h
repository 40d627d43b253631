// Winograd's minimal filtering for a Conv2dPass; see kernels/conv2d_winograd.h.
#pragma once

#include <optional>

#include "core/kernel_table.h"

namespace jadro {

// The shape with tiles of m x m pixels, where Winograd can compute the pass: 3x3 neighbouring taps, every step 1.
std::optional<Winograd> winograd_shape(const Conv2dPass&, i64 m);

// The m that is predicted fastest, or none where the engine is.
template <class T>
std::optional<Winograd> winograd_choice(const Conv2dPass&);
template <class T>
std::optional<Winograd> winograd_weight_choice(const Conv2dPass&);

// w [groups*out, in, 9]. False where a result is not finite: then the caller computes it otherwise, as the transforms
// spread NaN and infinity over whole tiles.
template <class T>
bool winograd_product(const Winograd&, const T* src, const T* w, const T* bias, T* dst, bool relu);
template <class T>
bool winograd_weight(const Winograd&, const T* src, const T* dy, T* dw);

}  // namespace jadro
