#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/launch.h"
#include "cuda/softmax.h"

namespace jadro::cuda {
namespace {

void forward(const py::object& x_given, const py::object& y_given, bool log, std::uintptr_t stream) {
  Call call("softmax_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_any_dtype(x);
  call.check_rank(x, 3);
  const Softmax shape{x.shape[0], x.shape[1], x.shape[2], log};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(x, x.shape);
    T* to = call.out<T>(y, x.shape);
    call.run([&] { return softmax_forward(shape, from, to, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& y_given, const py::object& dx_given, bool log,
              std::uintptr_t stream) {
  Call call("softmax_backward");
  const Array dy = call.read(dy_given, "dy"), y = call.read(y_given, "y"), dx = call.read(dx_given, "dx");
  call.set_any_dtype(dy);
  call.check_rank(dy, 3);
  const Softmax shape{dy.shape[0], dy.shape[1], dy.shape[2], log};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, dy.shape);
    const T* result = call.in<T>(y, dy.shape);
    T* to = call.out<T>(dx, dy.shape);
    call.run([&] { return softmax_backward(shape, gradient, result, to, stream_of(stream)); });
  });
}

}  // namespace

void bind_softmax(py::module_& m) {
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("softmax_forward", &forward, py::arg("x"), py::arg("y"), py::arg("log"), py::kw_only(), on_stream);
  m.def("softmax_backward", &backward, py::arg("dy"), py::arg("y"), py::arg("dx"), py::arg("log"), py::kw_only(),
        on_stream);
}

}  // namespace jadro::cuda
