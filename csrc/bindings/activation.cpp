#include "ops/activation.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

ActivationFunction parse(const Call& call, const std::string& name, double a, double b) {
  for (int i = 0; activation_name(i); ++i) {
    if (name == activation_name(i)) return {static_cast<Activation>(i), a, b};
  }
  std::string known;
  for (int i = 0; activation_name(i); ++i) known += (i ? ", " : "") + std::string(activation_name(i));
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

ChannelShape prelu_shape(Call& call, const py::array& x) {
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 3);
  return {x.shape(0), x.shape(1), x.shape(2)};
}

void prelu(const py::array& x, const py::array& w, py::array& y) {
  Call call("prelu_forward");
  const ChannelShape shape = prelu_shape(call, x);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, "x", Dims(x));
    const T* slopes = call.in<T>(w, "w", {shape.c});
    T* out = call.out<T>(y, "y", Dims(x));
    py::gil_scoped_release unlocked;
    prelu_forward(shape, in, slopes, out);
  });
}

void prelu_gradients(const py::array& dy, const py::array& x, const py::array& w, std::optional<py::array>& dx,
                     std::optional<py::array>& dw) {
  Call call("prelu_backward");
  const ChannelShape shape = prelu_shape(call, x);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(dy, "dy", Dims(x));
    const T* value = call.in<T>(x, "x", Dims(x));
    const T* slopes = call.in<T>(w, "w", {shape.c});
    T* out = call.out<T>(dx, "dx", Dims(x));
    T* sums = call.out<T>(dw, "dw", {shape.c});
    py::gil_scoped_release unlocked;
    prelu_backward(shape, in, value, slopes, out, sums);
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activation_forward", &forward, py::arg("name"), py::arg("x"), py::arg("y"), py::arg("a") = 0.0,
        py::arg("b") = 0.0);
  m.def("activation_backward", &backward, py::arg("name"), py::arg("dy"), py::arg("v"), py::arg("dx"),
        py::arg("a") = 0.0, py::arg("b") = 0.0);
  m.def("prelu_forward", &prelu, py::arg("x"), py::arg("w"), py::arg("y"));
  m.def("prelu_backward", &prelu_gradients, py::arg("dy"), py::arg("x"), py::arg("w"), py::arg("dx"), py::arg("dw"));
}

}  // namespace jadro
