#include "ops/avg_pool.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Sizes = std::vector<i64>;
constexpr i64 kMost = INT32_MAX;

void check_sizes(const Call& call, const Sizes& sizes, const char* argument, std::size_t count, i64 least) {
  const auto what = [&] { return std::string(argument) + " is " + shape_text(sizes) + ", expected "; };
  call.require(sizes.size() == count, [&] { return what() + std::to_string(count) + " numbers"; });
  for (i64 size : sizes) {
    call.require(size >= least && size <= kMost,
                 [&] { return what() + "each from " + std::to_string(least) + " to " + std::to_string(kMost); });
  }
}

// The windows from x[N,C,in...] to y[N,C,out...] of one to three axes; kernel is empty for the bins of adaptive
// pooling.
AvgPoolProblem problem_of(const Call& call, const Sizes& in, const Sizes& out, const Sizes& kernel, const Sizes& stride,
                          const Sizes& padding, bool padding_counts, i64 divisor) {
  call.require(in.size() >= 3 && in.size() <= 5,
               [&] { return "x has shape " + shape_text(in) + ", expected 3 to 5 dimensions"; });
  call.require(out.size() == in.size() && out[0] == in[0] && out[1] == in[1], [&] {
    return "y has shape " + shape_text(out) + ", expected batch and channels as x has, " + shape_text(in);
  });
  const std::size_t axes = in.size() - 2, given = kernel.empty() ? 0 : axes;
  check_sizes(call, kernel, "kernel", given, 1);
  check_sizes(call, stride, "stride", given, 1);
  check_sizes(call, padding, "padding", 2 * given, 0);
  call.require(divisor >= INT32_MIN && divisor <= kMost,
               [&] { return "divisor is " + std::to_string(divisor) + ", expected a number of 32 bits"; });
  AvgPoolWindows windows[3] = {{1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}};
  for (std::size_t a = 0; a < axes; ++a) {
    AvgPoolWindows& w = windows[3 - axes + a];
    w = {in[a + 2], out[a + 2], 0, 1, 0, 0};
    if (given) w = {w.in, w.out, kernel[a], stride[a], padding[2 * a], padding[2 * a + 1]};
    call.require(w.in >= 1 && w.in <= kMost && w.out >= 1 && w.out <= kMost, [&] {
      return "x has shape " + shape_text(in) + " and y " + shape_text(out) + ", expected sizes from 1 to " +
             std::to_string(kMost);
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

void forward(const py::array& x, py::array& y, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
             bool padding_counts, i64 divisor) {
  Call call("avg_pool_forward");
  call.set_dtype(x, "x");
  const Sizes in = shape_of(x), out = shape_of(y);
  const AvgPoolProblem p = problem_of(call, in, out, kernel, stride, padding, padding_counts, divisor);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(x, "x", in);
    T* to = call.out<T>(y, "y", out);
    py::gil_scoped_release unlocked;
    avg_pool_forward(p, from, to);
  });
}

void backward(const py::array& dy, py::array& dx, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
              bool padding_counts, i64 divisor) {
  Call call("avg_pool_backward");
  call.set_dtype(dy, "dy");
  const Sizes in = shape_of(dx), out = shape_of(dy);
  const AvgPoolProblem p = problem_of(call, in, out, kernel, stride, padding, padding_counts, divisor);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(dy, "dy", out);
    T* to = call.out<T>(dx, "dx", in);
    py::gil_scoped_release unlocked;
    avg_pool_backward(p, from, to);
  });
}

}  // namespace

void bind_avg_pool(py::module_& m) {
  m.def("avg_pool_forward", &forward, py::arg("x"), py::arg("y"), py::arg("kernel"), py::arg("stride"),
        py::arg("padding"), py::arg("padding_counts"), py::arg("divisor"));
  m.def("avg_pool_backward", &backward, py::arg("dy"), py::arg("dx"), py::arg("kernel"), py::arg("stride"),
        py::arg("padding"), py::arg("padding_counts"), py::arg("divisor"));
}

}  // namespace jadro
