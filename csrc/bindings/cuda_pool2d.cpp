#include <tuple>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/pool2d_problem.h"
#include "cuda/launch.h"
#include "cuda/pool2d.h"

namespace jadro::cuda {
namespace {

using Window = std::tuple<Sizes, Sizes, Sizes, Sizes>;  // kernel, stride, padding, dilation

// The windows of x[shape], with their checks.
Windows3 windows_of(const Call& call, const Sizes& shape, const Window& window) {
  const auto& [kernel, stride, padding, dilation] = window;
  const std::size_t axes = shape.size() - 2;
  check_windows(call, axes, kernel, stride, padding, dilation);
  Windows each[3] = {{1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}};
  for (std::size_t a = 0; a < axes; ++a) {
    const i64 before = padding[2 * a], after = padding[2 * a + 1];
    const i64 out =
        output_size(call, axis_name(a, axes), shape[a + 2], before + after, kernel[a], stride[a], dilation[a]);
    each[3 - axes + a] = {shape[a + 2], out, kernel[a], stride[a], before, after, dilation[a]};
  }
  return {each[0], each[1], each[2]};
}

// Those of adaptive pooling, or without bins so wide that each output's spans the whole volume, for a caller who
// has only the indices.
Windows3 windows_between(const Sizes& in, const Sizes& out, bool bins) {
  Windows each[3] = {{1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}};
  for (std::size_t a = 2; a < in.size(); ++a) {
    Windows& w = each[a + 3 - in.size()];
    w = {in[a], out[a], 0, 1, 0, 0, 1};
    if (!bins) w = {in[a], out[a], in[a] + out[a], 1, out[a], out[a], 1};
  }
  return {each[0], each[1], each[2]};
}

Sizes results_of(const Sizes& shape, const Windows3& w) {
  if (shape.size() == 4) return {shape[0], shape[1], w.h.out, w.w.out};
  return {shape[0], shape[1], w.d.out, w.h.out, w.w.out};
}

void run_forward(Call& call, const Windows3& windows, const Array& x, const Array& y, const Maybe& indices,
                 const Sizes& out, std::uintptr_t stream) {
  volume(call, "y", out);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, x.shape);
    T* values = call.out<T>(y, out);
    std::int32_t* places = call.out<std::int32_t>(indices, out);
    call.run([&] { return max_pool2d_forward(out[0] * out[1], windows, in, values, places, stream_of(stream)); });
  });
}

void forward(const py::object& x_given, const py::object& y_given, const Given& indices_given, const Sizes& kernel,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation, std::uintptr_t stream) {
  Call call("max_pool2d_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  const Maybe indices = call.read(indices_given, "indices");
  call.set_any_dtype(x);
  check_rank(call, "x", x.shape);
  volume(call, "x", x.shape);
  const Windows3 windows = windows_of(call, x.shape, {kernel, stride, padding, dilation});
  run_forward(call, windows, x, y, indices, results_of(x.shape, windows), stream);
}

void adaptive_forward(const py::object& x_given, const py::object& y_given, const Given& indices_given,
                      std::uintptr_t stream) {
  Call call("adaptive_max_pool2d_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  const Maybe indices = call.read(indices_given, "indices");
  call.set_any_dtype(x);
  const Sizes &shape = x.shape, &given = y.shape;
  check_adaptive(call, shape, given);
  run_forward(call, windows_between(shape, given, true), x, y, indices, given, stream);
}

// Values[N,C,out...] that stand at indices of planes[N,C,in...]: the two shapes, checked.
struct Scattered {
  Sizes out, in;
  i64 planes, count, size;

  Scattered(Call& call, const Array& values, const Array& target) : out(values.shape), in(target.shape) {
    call.set_any_dtype(values);
    check_rank(call, values.argument.c_str(), out);
    call.check_rank(target, out.size());
    in[0] = out[0], in[1] = out[1];
    planes = out[0] * out[1];
    size = volume(call, target.argument.c_str(), in);
    count = volume(call, values.argument.c_str(), out);
  }
};

void backward(const py::object& dy_given, const py::object& indices_given, const py::object& dx_given,
              const std::optional<Window>& window, std::uintptr_t stream) {
  Call call("max_pool2d_backward");
  const Array dy = call.read(dy_given, "dy"), indices = call.read(indices_given, "indices");
  const Array dx = call.read(dx_given, "dx");
  const Scattered s(call, dy, dx);
  const Windows3 windows = window ? windows_of(call, s.in, *window) : windows_between(s.in, s.out, false);
  const Sizes expected = results_of(s.in, windows);
  call.require(s.out == expected,
               [&] { return "dy has shape " + shape_text(s.out) + ", expected " + shape_text(expected); });
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, s.out);
    const std::int32_t* places = call.in<std::int32_t>(indices, s.out);
    T* result = call.out<T>(dx, s.in);
    call.run([&] { return max_pool2d_backward(s.planes, windows, gradient, places, result, stream_of(stream)); });
  });
}

void unpool_forward(const py::object& x_given, const py::object& indices_given, const py::object& y_given,
                    std::uintptr_t stream) {
  Call call("max_unpool2d_forward");
  const Array x = call.read(x_given, "x"), indices = call.read(indices_given, "indices"), y = call.read(y_given, "y");
  const Scattered s(call, x, y);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* values = call.in<T>(x, s.out);
    const std::int32_t* places = call.in<std::int32_t>(indices, s.out);
    T* to = call.out<T>(y, s.in);
    call.run([&] { return max_unpool2d_forward(s.planes, s.count, s.size, values, places, to, stream_of(stream)); });
  });
}

void unpool_backward(const py::object& dy_given, const py::object& indices_given, const py::object& dx_given,
                     std::uintptr_t stream) {
  Call call("max_unpool2d_backward");
  const Array dy = call.read(dy_given, "dy"), indices = call.read(indices_given, "indices");
  const Array dx = call.read(dx_given, "dx");
  const Scattered s(call, dx, dy);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(dy, s.in);
    const std::int32_t* places = call.in<std::int32_t>(indices, s.out);
    T* to = call.out<T>(dx, s.out);
    call.run([&] { return max_unpool2d_backward(s.planes, s.count, s.size, from, places, to, stream_of(stream)); });
  });
}

}  // namespace

void bind_pool2d(py::module_& m) {
  const auto x = py::arg("x"), y = py::arg("y"), dy = py::arg("dy"), dx = py::arg("dx"), indices = py::arg("indices");
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("max_pool2d_forward", &forward, x, y, indices, py::arg("kernel"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::kw_only(), on_stream);
  m.def("adaptive_max_pool2d_forward", &adaptive_forward, x, y, indices, py::kw_only(), on_stream);
  m.def("max_pool2d_backward", &backward, dy, indices, dx, py::kw_only(), py::arg("window") = py::none(), on_stream);
  m.def("max_unpool2d_forward", &unpool_forward, x, indices, y, py::kw_only(), on_stream);
  m.def("max_unpool2d_backward", &unpool_backward, dy, indices, dx, py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
