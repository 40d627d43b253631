#include "ops/activation.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

Activation parse_name(const Call& call, const std::string& name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "tanh") return Activation::kTanh;
  if (name == "sigmoid") return Activation::kSigmoid;
  call.value_error("name is '" + name + "', expected 'relu', 'tanh' or 'sigmoid'");
}

void forward(const std::string& name, const py::array& x, py::array& y) {
  Call call("activation_forward");
  const Activation f = parse_name(call, name);
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

void backward(const std::string& name, const py::array& dy, const py::array& y, py::array& dx) {
  Call call("activation_backward");
  const Activation f = parse_name(call, name);
  call.set_dtype(dy, "dy");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(dy, "dy", shape_of(dy));
    const T* value = call.in<T>(y, "y", shape_of(dy));
    T* out = call.out<T>(dx, "dx", shape_of(dy));
    const i64 n = dy.size();
    py::gil_scoped_release unlocked;
    activation_backward(f, in, value, out, n);
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activation_forward", &forward, py::arg("name"), py::arg("x"), py::arg("y"));
  m.def("activation_backward", &backward, py::arg("name"), py::arg("dy"), py::arg("y"), py::arg("dx"));
}

}  // namespace jadro
