#include "ops/softmax.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

void forward(const py::array& x, py::array& y, bool log) {
  Call call("softmax_forward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 3);
  const std::vector<i64> shape = shape_of(x);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(x, "x", shape);
    T* to = call.out<T>(y, "y", shape);
    py::gil_scoped_release unlocked;
    softmax_forward({shape[0], shape[1], shape[2], log}, from, to);
  });
}

void backward(const py::array& dy, const py::array& y, py::array& dx, bool log) {
  Call call("softmax_backward");
  call.set_dtype(dy, "dy");
  call.check_rank(dy, "dy", 3);
  const std::vector<i64> shape = shape_of(dy);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, "dy", shape);
    const T* result = call.in<T>(y, "y", shape);
    T* to = call.out<T>(dx, "dx", shape);
    py::gil_scoped_release unlocked;
    softmax_backward({shape[0], shape[1], shape[2], log}, gradient, result, to);
  });
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax_forward", &forward, py::arg("x"), py::arg("y"), py::arg("log"));
  m.def("softmax_backward", &backward, py::arg("dy"), py::arg("y"), py::arg("dx"), py::arg("log"));
}

}  // namespace jadro
