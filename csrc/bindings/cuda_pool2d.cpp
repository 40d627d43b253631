#include <array>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/launch.h"
#include "cuda/pool2d.h"

namespace jadro::cuda {
namespace {

constexpr i64 kMost = INT32_MAX;
using Pair = std::array<i64, 2>;
using Sides = std::array<i64, 4>;
using Shape = std::vector<i64>;

template <std::size_t N>
void check_sizes(const Call& call, const std::array<i64, N>& sizes, const char* argument, i64 least) {
  for (i64 size : sizes) {
    call.require(size >= least && size <= kMost, [&] {
      return std::string(argument) + " has " + std::to_string(size) + ", expected " + std::to_string(least) + " to " +
             std::to_string(kMost);
    });
  }
}

void check_plane(const Call& call, const char* argument, const Shape& shape) {
  call.require(shape[2] == 0 || shape[3] <= kMost / shape[2], [&] {
    return std::string(argument) + " has shape " + shape_text(shape) + ", expected planes of less than 2^31";
  });
}

// floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1
i64 output_size(const Call& call, const char* axis, i64 size, i64 padding, i64 kernel, i64 stride, i64 dilation) {
  const i64 window = dilation * (kernel - 1) + 1;
  call.require(size + padding >= window, [&] {
    return std::string("the input has ") + axis + " " + std::to_string(size) + " and padding " +
           std::to_string(padding) + ", expected at least the window, " + std::to_string(window);
  });
  return (size + padding - window) / stride + 1;
}

// The problem of pooling x[shape], with its checks.
Pool2d problem_of(const Call& call, const Shape& shape, Pair kernel, Pair stride, Sides padding, Pair dilation) {
  check_sizes(call, kernel, "kernel", 1);
  check_sizes(call, stride, "stride", 1);
  check_sizes(call, padding, "padding", 0);
  check_sizes(call, dilation, "dilation", 1);
  const i64 ih = shape[2], iw = shape[3];
  const i64 oh = output_size(call, "height", ih, padding[0] + padding[1], kernel[0], stride[0], dilation[0]);
  const i64 ow = output_size(call, "width", iw, padding[2] + padding[3], kernel[1], stride[1], dilation[1]);
  return {shape[0] * shape[1], ih,        iw,         oh,         ow,          kernel[0],  kernel[1],
          stride[0],           stride[1], padding[0], padding[2], dilation[0], dilation[1]};
}

// Windows so wide that each output's spans the whole plane: for a caller who has only the indices.
Pool2d widest_windows(const Shape& in, const Shape& out) {
  return {in[0] * in[1], in[2], in[3], out[2], out[3], in[2] + out[2], in[3] + out[3], 1, 1, out[2], out[3], 1, 1};
}

void forward(const py::object& x_given, const py::object& y_given, const Given& indices_given, Pair kernel, Pair stride,
             Sides padding, Pair dilation, std::uintptr_t stream) {
  Call call("max_pool2d_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  const Maybe indices = call.read(indices_given, "indices");
  call.set_dtype(x);
  call.check_rank(x, 4);
  check_plane(call, "x", x.shape);
  const Pool2d p = problem_of(call, x.shape, kernel, stride, padding, dilation);
  const Shape out = {x.shape[0], x.shape[1], p.oh, p.ow};
  check_plane(call, "y", out);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, x.shape);
    T* values = call.out<T>(y, out);
    std::int32_t* places = call.out<std::int32_t>(indices, out);
    call.run([&] { return max_pool2d_forward(p, in, values, places, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& indices_given, const py::object& dx_given,
              const std::optional<std::tuple<Pair, Pair, Sides, Pair>>& window, std::uintptr_t stream) {
  Call call("max_pool2d_backward");
  const Array dy = call.read(dy_given, "dy"), indices = call.read(indices_given, "indices");
  const Array dx = call.read(dx_given, "dx");
  call.set_dtype(dy);
  call.check_rank(dy, 4);
  call.check_rank(dx, 4);
  const Shape &out = dy.shape, in = {out[0], out[1], dx.shape[2], dx.shape[3]};
  check_plane(call, "dy", out);
  check_plane(call, "dx", in);
  Pool2d p = widest_windows(in, out);
  if (window) {
    const auto& [kernel, stride, padding, dilation] = *window;
    p = problem_of(call, in, kernel, stride, padding, dilation);
    const Shape expected = {in[0], in[1], p.oh, p.ow};
    call.require(out == expected,
                 [&] { return "dy has shape " + shape_text(out) + ", expected " + shape_text(expected); });
  }
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, out);
    const std::int32_t* places = call.in<std::int32_t>(indices, out);
    T* result = call.out<T>(dx, in);
    call.run([&] { return max_pool2d_backward(p, gradient, places, result, stream_of(stream)); });
  });
}

}  // namespace

void bind_pool2d(py::module_& m) {
  m.def("max_pool2d_forward", &forward, py::arg("x"), py::arg("y"), py::arg("indices"), py::arg("kernel"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::kw_only(), py::arg("stream") = 0);
  m.def("max_pool2d_backward", &backward, py::arg("dy"), py::arg("indices"), py::arg("dx"), py::kw_only(),
        py::arg("window") = py::none(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
