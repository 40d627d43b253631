#include "ops/activation.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

ActivationFunction parse(const Call& call, const std::string& name, double a, double b) {
  std::string known;
  for (int i = 0; activation_name(i); ++i) {
    if (name == activation_name(i)) return {static_cast<Activation>(i), a, b};
    known += (i ? ", " : "") + std::string(activation_name(i));
  }
  call.value_error("name is '" + name + "', expected one of " + known);
}

void forward(const std::string& name, const py::array& x, py::array& y, double a, double b) {
  Call call("activation_forward");
  const ActivationFunction f = parse(call, name, a, b);
  call.set_dtype(x, "x");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, "x", shape_of(x));
    T* out = call.out<T>(y, "y", shape_of(x));
    const i64 n = x.size();
    py::gil_scoped_release unlocked;
    activation_forward(f, in, out, n);
  });
}

void backward(const std::string& name, const py::array& dy, const py::array& v, py::array& dx, double a, double b) {
  Call call("activation_backward");
  const ActivationFunction f = parse(call, name, a, b);
  call.set_dtype(dy, "dy");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(dy, "dy", shape_of(dy));
    const T* value = call.in<T>(v, "v", shape_of(dy));
    T* out = call.out<T>(dx, "dx", shape_of(dy));
    const i64 n = dy.size();
    py::gil_scoped_release unlocked;
    activation_backward(f, in, value, out, n);
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activation_forward", &forward, py::arg("name"), py::arg("x"), py::arg("y"), py::arg("a") = 0.0,
        py::arg("b") = 0.0);
  m.def("activation_backward", &backward, py::arg("name"), py::arg("dy"), py::arg("v"), py::arg("dx"),
        py::arg("a") = 0.0, py::arg("b") = 0.0);
}

}  // namespace jadro
