#pragma once

#include "core/shapes.h"

namespace jadro {

// out[n] = uniform numbers offset ... offset + n - 1 of the stream `seed`.
template <class T>
void random_uniform(T* out, i64 n, u64 seed, u64 offset);

// y[n] = x / (1-p) where the float32 number offset + j of the stream is at least p, else 0; y may be x.
template <class T>
void dropout(const T* x, T* y, i64 n, double p, u64 seed, u64 offset);

}  // namespace jadro
