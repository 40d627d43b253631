#pragma once

#include "core/shapes.h"

namespace jadro {

// Splits the product over the threads; used by linear layers and for the weight gradients of recurrent ones.
template <class T>
void gemm(const Gemm<T>& problem);

}  // namespace jadro
