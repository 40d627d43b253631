#pragma once

#include "core/shapes.h"

namespace jadro {

// weight[v,e], ids[rows] in [0, v), y[rows,e].
template <class T>
void embedding_forward(i64 e, i64 rows, const T* weight, const i64* ids, T* y);

// dweight[v,e] is overwritten: each row gets its dy in the order of ids, row padding_idx none.
template <class T>
void embedding_backward(i64 v, i64 e, i64 rows, const T* dy, const i64* ids, i64 padding_idx, T* dweight);

}  // namespace jadro
