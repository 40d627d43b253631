#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// y[rows,width] = weight[ids], weight[entries,width]; NaN where an id is outside the table.
template <class T>
cudaError_t embedding_forward(i64 entries, i64 width, i64 rows, const T* weight, const i64* ids, T* y,
                              cudaStream_t stream);

// dweight[e] = sum of dy[r] over the rows r with ids[r] == e, in their order; 0 for e == skip. Ids outside the table
// count for nothing.
template <class T>
cudaError_t embedding_backward(i64 entries, i64 width, i64 rows, const T* dy, const i64* ids, i64 skip, T* dweight,
                               cudaStream_t stream);

}  // namespace jadro::cuda
