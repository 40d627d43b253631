#pragma once

#include "core/shapes.h"

namespace jadro {

// y[planes,od,oh,ow] and indices, which may be null, from x[planes,id,ih,iw].
template <class T>
void max_pool2d_forward(const Pool2d& problem, const T* x, T* y, std::int32_t* indices);

// dx[planes,size] from dy and indices [planes,outputs]; false, and nothing written, where an index other than -1 lies
// outside its plane.
template <class T>
bool max_pool2d_backward(i64 planes, i64 outputs, i64 size, const T* dy, const std::int32_t* indices, T* dx);

// y[planes,size]: 0, but x[planes,inputs] at its indices, and of its gradient dy[planes,size] what stands there; as
// above, false for an index outside.
template <class T>
bool max_unpool2d_forward(i64 planes, i64 inputs, i64 size, const T* x, const std::int32_t* indices, T* y);
template <class T>
bool max_unpool2d_backward(i64 planes, i64 inputs, i64 size, const T* dy, const std::int32_t* indices, T* dx);

}  // namespace jadro
