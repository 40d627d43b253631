#pragma once

#include "core/shapes.h"

namespace jadro {

// y[planes,oh,ow] and indices, which may be null, from x[planes,ih,iw].
template <class T>
void max_pool2d_forward(const Pool2d& problem, const T* x, T* y, std::int32_t* indices);

// dx[planes,size] from dy and indices [planes,outputs]; false, and nothing written, where an index other than -1 lies
// outside its plane.
template <class T>
bool max_pool2d_backward(i64 planes, i64 outputs, i64 size, const T* dy, const std::int32_t* indices, T* dx);

}  // namespace jadro
