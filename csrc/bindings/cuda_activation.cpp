#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/activation.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

Activation parse(const Call& call, const std::string& name) {
  static constexpr const char* kNames[] = {"relu", "tanh",      "sigmoid", "leaky_relu", "elu",
                                           "gelu", "gelu_tanh", "silu",    "hardtanh",   "softplus"};
  std::string known;
  int i = 0;
  for (const char* each : kNames) {
    if (name == each) return static_cast<Activation>(i);
    known += (i++ ? ", " : "") + std::string(each);
  }
  call.value_error("name is '" + name + "', expected one of " + known);
}

void forward(const std::string& name, const py::object& x_given, const py::object& y_given, double a, double b,
             std::uintptr_t stream) {
  Call call("activation_forward");
  const Activation f = parse(call, name);
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_any_dtype(x);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, x.shape);
    T* out = call.out<T>(y, x.shape);
    call.run([&] {
      return activation_forward(f, static_cast<Sum<T>>(a), static_cast<Sum<T>>(b), in, out, x.size(),
                                stream_of(stream));
    });
  });
}

void backward(const std::string& name, const py::object& dy_given, const py::object& v_given,
              const py::object& dx_given, double a, double b, std::uintptr_t stream) {
  Call call("activation_backward");
  const Activation f = parse(call, name);
  const Array dy = call.read(dy_given, "dy"), v = call.read(v_given, "v"), dx = call.read(dx_given, "dx");
  call.set_any_dtype(dy);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, dy.shape);
    const T* value = call.in<T>(v, dy.shape);
    T* out = call.out<T>(dx, dy.shape);
    call.run([&] {
      return activation_backward(f, static_cast<Sum<T>>(a), static_cast<Sum<T>>(b), gradient, value, out, dy.size(),
                                 stream_of(stream));
    });
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  const py::arg_v a = py::arg("a") = 0.0, b = py::arg("b") = 0.0, on_stream = py::arg("stream") = 0;
  m.def("activation_forward", &forward, py::arg("name"), py::arg("x"), py::arg("y"), a, b, py::kw_only(), on_stream);
  m.def("activation_backward", &backward, py::arg("name"), py::arg("dy"), py::arg("v"), py::arg("dx"), a, b,
        py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
