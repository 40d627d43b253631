#include "ops/pool2d.h"

#include <array>

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

constexpr i64 kMost = INT32_MAX;
using Pair = std::array<i64, 2>;
using Sides = std::array<i64, 4>;

template <std::size_t N>
void check_sizes(const Call& call, const std::array<i64, N>& sizes, const char* argument, i64 least) {
  for (i64 size : sizes) {
    if (size >= least && size <= kMost) continue;
    call.value_error(std::string(argument) + " has " + std::to_string(size) + ", expected " + std::to_string(least) +
                     " to " + std::to_string(kMost));
  }
}

// floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1
i64 output_size(const Call& call, const char* axis, i64 size, i64 padding, i64 kernel, i64 stride, i64 dilation) {
  const i64 window = dilation * (kernel - 1) + 1;
  if (size + padding < window) {
    call.value_error(std::string("x has ") + axis + " " + std::to_string(size) + " and padding " +
                     std::to_string(padding) + ", expected at least the window, " + std::to_string(window));
  }
  return (size + padding - window) / stride + 1;
}

void forward(const py::array& x, py::array& y, std::optional<py::array>& indices, Pair kernel, Pair stride,
             Sides padding, Pair dilation) {
  Call call("max_pool2d_forward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 4);
  check_sizes(call, kernel, "kernel", 1);
  check_sizes(call, stride, "stride", 1);
  check_sizes(call, padding, "padding", 0);
  check_sizes(call, dilation, "dilation", 1);
  const std::vector<i64> shape = shape_of(x);
  const i64 ih = shape[2], iw = shape[3];
  if (ih > 0 && iw > kMost / ih) call.value_error("x has shape " + shape_text(shape) + ", expected planes below 2^31");
  const i64 oh = output_size(call, "height", ih, padding[0] + padding[1], kernel[0], stride[0], dilation[0]);
  const i64 ow = output_size(call, "width", iw, padding[2] + padding[3], kernel[1], stride[1], dilation[1]);
  const std::vector<i64> out = {shape[0], shape[1], oh, ow};
  const Pool2d p{shape[0] * shape[1], ih,        iw,         oh,         ow,          kernel[0],  kernel[1],
                 stride[0],           stride[1], padding[0], padding[2], dilation[0], dilation[1]};
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, "x", shape);
    T* values = call.out<T>(y, "y", out);
    std::int32_t* places = call.out<std::int32_t>(indices, "indices", out);
    py::gil_scoped_release unlocked;
    max_pool2d_forward(p, in, values, places);
  });
}

void backward(const py::array& dy, const py::array& indices, py::array& dx) {
  Call call("max_pool2d_backward");
  call.set_dtype(dy, "dy");
  call.check_rank(dy, "dy", 4);
  call.check_rank(dx, "dx", 4);
  const std::vector<i64> out = shape_of(dy), in = shape_of(dx);
  bool inside = true;
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, "dy", out);
    const std::int32_t* places = call.in<std::int32_t>(indices, "indices", out);
    T* result = call.out<T>(dx, "dx", {out[0], out[1], in[2], in[3]});
    py::gil_scoped_release unlocked;
    inside = max_pool2d_backward(out[0] * out[1], out[2] * out[3], in[2] * in[3], gradient, places, result);
  });
  if (inside) return;
  call.value_error("indices point outside the planes of dx, expected -1 to " + std::to_string(in[2] * in[3] - 1));
}

}  // namespace

void bind_pool2d(py::module_& m) {
  m.def("max_pool2d_forward", &forward, py::arg("x"), py::arg("y"), py::arg("indices"), py::arg("kernel"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"));
  m.def("max_pool2d_backward", &backward, py::arg("dy"), py::arg("indices"), py::arg("dx"));
}

}  // namespace jadro
