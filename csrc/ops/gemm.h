#pragma once

#include "core/shapes.h"

namespace jadro {

// Splits the product over the threads; used by linear layers and for the weight gradients of recurrent ones.
template <class T>
void gemm(const Gemm<T>& problem);

// `count` products: a and b of the i-th stand a_at[i] and b_at[i] behind those of the first, the results one after
// another.
template <class T>
void gemm_batch(const Gemm<T>& first, i64 count, const i64* a_at, const i64* b_at);

}  // namespace jadro
