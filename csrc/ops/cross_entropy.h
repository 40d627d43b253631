#pragma once

#include "core/shapes.h"

namespace jadro {

// losses[rows], lse[rows]
template <class T>
void cross_entropy_forward(const CrossEntropy<T>& problem, i64 rows, T* losses, T* lse);

// dx[rows,classes]
template <class T>
void cross_entropy_backward(const CrossEntropy<T>& problem, i64 rows, const T* lse, const T* dlosses, T* dx);

}  // namespace jadro
