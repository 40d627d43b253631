#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/avg_pool.h"
#include "cuda/launch.h"

namespace jadro::cuda {
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
  Windows windows[3] = {{1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}};
  for (std::size_t a = 0; a < axes; ++a) {
    Windows& w = windows[3 - axes + a];
    w = {in[a + 2], out[a + 2], 0, 1, 0, 0, 1};
    if (given) w = {w.in, w.out, kernel[a], stride[a], padding[2 * a], padding[2 * a + 1], 1};
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
  return {in[0] * in[1], {windows[0], windows[1], windows[2]}, padding_counts, divisor};
}

void forward(const py::object& x_given, const py::object& y_given, const Sizes& kernel, const Sizes& stride,
             const Sizes& padding, bool padding_counts, i64 divisor, std::uintptr_t stream) {
  Call call("avg_pool_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_dtype(x);
  const AvgPoolProblem p = problem_of(call, x.shape, y.shape, kernel, stride, padding, padding_counts, divisor);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(x, x.shape);
    T* to = call.out<T>(y, y.shape);
    call.run([&] { return avg_pool_forward(p, from, to, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& dx_given, const Sizes& kernel, const Sizes& stride,
              const Sizes& padding, bool padding_counts, i64 divisor, std::uintptr_t stream) {
  Call call("avg_pool_backward");
  const Array dy = call.read(dy_given, "dy"), dx = call.read(dx_given, "dx");
  call.set_dtype(dy);
  const AvgPoolProblem p = problem_of(call, dx.shape, dy.shape, kernel, stride, padding, padding_counts, divisor);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(dy, dy.shape);
    T* to = call.out<T>(dx, dx.shape);
    call.run([&] { return avg_pool_backward(p, from, to, stream_of(stream)); });
  });
}

}  // namespace

void bind_avg_pool(py::module_& m) {
  const auto kernel = py::arg("kernel"), stride = py::arg("stride"), padding = py::arg("padding");
  const auto padding_counts = py::arg("padding_counts"), divisor = py::arg("divisor");
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("avg_pool_forward", &forward, py::arg("x"), py::arg("y"), kernel, stride, padding, padding_counts, divisor,
        py::kw_only(), on_stream);
  m.def("avg_pool_backward", &backward, py::arg("dy"), py::arg("dx"), kernel, stride, padding, padding_counts, divisor,
        py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
