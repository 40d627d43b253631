// Depthwise convolution on a plane, or a row of it, at a time.
#pragma once

#include <vector>

#include "core/kernel_table.h"

namespace jadro {

// Planes of (image, group), or rows of theirs where `phases` are read in place: one pass, the phases of a row, or the
// four of rows and columns.
template <class T>
void depthwise_product(const std::vector<Conv2dProduct<T>>& phases);

template <class T>
void depthwise_weight(const Conv2dWeight<T>& a);

}  // namespace jadro
