#pragma once

#include "core/shapes.h"

namespace jadro {

// One axis: windows of `kernel` places from o stride - before on; where kernel is 0, the bins floor(o I / O) ..
// ceil((o + 1) I / O). Padding counts, as zeros, up to `after` places behind the input.
struct AvgPoolWindows {
  i64 in, out, kernel, stride, before, after;
};

// Means over windows of x[planes, d, h, w]. A window's sum is divided by `divisor`, where it is not 0, else by how many
// places it has in the input and, with `padding_counts`, in the padding. Every window has one in the input.
struct AvgPoolProblem {
  i64 planes;
  AvgPoolWindows d, h, w;
  bool padding_counts;
  i64 divisor;
};

template <class T>
void avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y);
template <class T>
void avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx);

}  // namespace jadro
