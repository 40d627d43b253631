#include "bindings/avg_pool_problem.h"
#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/avg_pool.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

void forward(const py::object& x_given, const py::object& y_given, const Sizes& kernel, const Sizes& stride,
             const Sizes& padding, bool padding_counts, i64 divisor, std::uintptr_t stream) {
  Call call("avg_pool_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_any_dtype(x);
  const AvgPoolProblem p = avg_pool_problem(call, x.shape, y.shape, kernel, stride, padding, padding_counts, divisor);
  call.with_any_dtype([&](auto zero) {
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
  call.set_any_dtype(dy);
  const AvgPoolProblem p = avg_pool_problem(call, dx.shape, dy.shape, kernel, stride, padding, padding_counts, divisor);
  call.with_any_dtype([&](auto zero) {
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
