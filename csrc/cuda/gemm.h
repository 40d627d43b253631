#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// Bytes of scratch memory for C[m,n] = A[m,k] B[k,n].
template <class T>
i64 gemm_scratch(i64 m, i64 n, i64 k);

// C = A B + bias, or C += with accumulate. Without scratch memory it is not cut along k: an element then depends on its
// row and column alone.
template <class T>
cudaError_t gemm(const Gemm<T>& g, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
