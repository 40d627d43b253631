#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/activation.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

Activation parse_name(const Call& call, const std::string& name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "tanh") return Activation::kTanh;
  if (name == "sigmoid") return Activation::kSigmoid;
  call.value_error("name is '" + name + "', expected 'relu', 'tanh' or 'sigmoid'");
}

void forward(const std::string& name, const py::object& x_given, const py::object& y_given, std::uintptr_t stream) {
  Call call("activation_forward");
  const Activation f = parse_name(call, name);
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_dtype(x);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, x.shape);
    T* out = call.out<T>(y, x.shape);
    call.run([&] { return activation_forward(f, in, out, x.size(), stream_of(stream)); });
  });
}

void backward(const std::string& name, const py::object& dy_given, const py::object& y_given,
              const py::object& dx_given, std::uintptr_t stream) {
  Call call("activation_backward");
  const Activation f = parse_name(call, name);
  const Array dy = call.read(dy_given, "dy"), y = call.read(y_given, "y"), dx = call.read(dx_given, "dx");
  call.set_dtype(dy);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, dy.shape);
    const T* value = call.in<T>(y, dy.shape);
    T* out = call.out<T>(dx, dy.shape);
    call.run([&] { return activation_backward(f, gradient, value, out, dy.size(), stream_of(stream)); });
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activation_forward", &forward, py::arg("name"), py::arg("x"), py::arg("y"), py::kw_only(),
        py::arg("stream") = 0);
  m.def("activation_backward", &backward, py::arg("name"), py::arg("dy"), py::arg("y"), py::arg("dx"), py::kw_only(),
        py::arg("stream") = 0);
}

}  // namespace jadro::cuda
