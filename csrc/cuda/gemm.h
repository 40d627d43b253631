#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// Bytes of scratch memory for C[m,n] = A[m,k] B[k,n].
template <class T>
i64 gemm_scratch(i64 m, i64 n, i64 k);

// Whether products of float32, those of convolution and of recurrent layers too, may round their operands to TF32.
void allow_tf32(bool allowed);

// C = A B + bias, or C += with accumulate. Without scratch memory it is not cut along k: an element then depends on its
// row and column alone. C is of the operands' type, or of that in which their products are summed.
template <class T, class Result>
cudaError_t gemm(const Gemm<T, Result>& g, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
