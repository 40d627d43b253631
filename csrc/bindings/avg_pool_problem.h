// What the two modules' bindings of average pooling check about sizes.
#pragma once

#include "bindings/arrays.h"

namespace jadro {

// The windows from x[N,C,in...] to y[N,C,out...] of one to three axes; kernel is empty for the bins of adaptive
// pooling.
inline AvgPoolProblem avg_pool_problem(const Call& call, const Sizes& in, const Sizes& out, const Sizes& kernel,
                                       const Sizes& stride, const Sizes& padding, bool padding_counts, i64 divisor) {
  call.require(in.size() >= 3 && in.size() <= 5,
               [&] { return "x has shape " + shape_text(in) + ", expected 3 to 5 dimensions"; });
  call.require(out.size() == in.size() && out[0] == in[0] && out[1] == in[1], [&] {
    return "y has shape " + shape_text(out) + ", expected batch and channels as x has, " + shape_text(in);
  });
  const std::size_t axes = in.size() - 2, given = kernel.empty() ? 0 : axes;
  call.check_sizes(kernel, "kernel", given, 1);
  call.check_sizes(stride, "stride", given, 1);
  call.check_sizes(padding, "padding", 2 * given, 0);
  call.require(divisor >= INT32_MIN && divisor <= INT32_MAX,
               [&] { return "divisor is " + std::to_string(divisor) + ", expected a number of 32 bits"; });
  AvgPoolWindows windows[3] = {{1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}};
  for (std::size_t a = 0; a < axes; ++a) {
    AvgPoolWindows& w = windows[3 - axes + a];
    w = {in[a + 2], out[a + 2], 0, 1, 0, 0};
    if (given) w = {w.in, w.out, kernel[a], stride[a], padding[2 * a], padding[2 * a + 1]};
    call.require(w.in >= 1 && w.in <= INT32_MAX && w.out >= 1 && w.out <= INT32_MAX, [&] {
      return "x has shape " + shape_text(in) + " and y " + shape_text(out) + ", expected sizes from 1 to " +
             std::to_string(INT32_MAX);
    });
    if (!given) continue;
    // The output size may be rounded down or up, but every window sees x.
    const i64 rest = w.in + w.before + w.after - w.kernel, steps = (w.out - 1) * w.stride;
    call.require(steps <= rest + w.stride - 1 && steps > rest - w.stride, [&] {
      return "y has shape " + shape_text(out) + ", expected the windows to reach over x, of shape " + shape_text(in);
    });
    call.require(w.before < w.kernel && steps - w.before < w.in, [&] {
      return "padding is " + shape_text(padding) + ", expected every window to see x, of shape " + shape_text(in);
    });
  }
  return {in[0] * in[1], windows[0], windows[1], windows[2], padding_counts, divisor};
}

}  // namespace jadro
