#include <cmath>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/adam.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

using Arrays = std::vector<py::object>;

template <class T>
AdamStep<T> step_of(double lr, double beta1, double beta2, double eps, double weight_decay, bool decoupled, i64 step) {
  AdamStep<T> s{};
  s.shrink = static_cast<T>(decoupled ? 1 - lr * weight_decay : 1);
  s.decay = static_cast<T>(decoupled ? 0 : weight_decay);
  s.beta1 = static_cast<T>(beta1);
  s.alpha1 = static_cast<T>(1 - beta1);
  s.beta2 = static_cast<T>(beta2);
  s.alpha2 = static_cast<T>(1 - beta2);
  s.rate = static_cast<T>(lr / (1 - std::pow(beta1, static_cast<double>(step))));
  s.root = static_cast<T>(std::sqrt(1 - std::pow(beta2, static_cast<double>(step))));
  s.eps = static_cast<T>(eps);
  return s;
}

void adam_step_call(const Arrays& params_given, const Arrays& grads_given, const Arrays& m_given, const Arrays& v_given,
                    double lr, double beta1, double beta2, double eps, double weight_decay, bool decoupled, i64 step,
                    std::uintptr_t stream) {
  Call call("adam_step");
  const auto check_count = [&](const Arrays& list, const char* argument) {
    call.require(list.size() == params_given.size(), [&] {
      return std::string(argument) + " has " + std::to_string(list.size()) + " arrays, expected " +
             std::to_string(params_given.size()) + " as params";
    });
  };
  check_count(grads_given, "grads");
  check_count(m_given, "m");
  check_count(v_given, "v");
  call.require(step >= 1, [&] { return "step is " + std::to_string(step) + ", expected at least 1"; });
  if (params_given.empty()) return;
  const std::vector<Array> params = call.read(params_given, "params"), grads = call.read(grads_given, "grads");
  const std::vector<Array> m = call.read(m_given, "m"), v = call.read(v_given, "v");
  call.set_dtype(params[0]);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    std::vector<AdamParameter<T>> parameters;
    parameters.reserve(params.size());
    for (std::size_t i = 0; i < params.size(); ++i) {
      const std::vector<i64>& shape = params[i].shape;
      parameters.push_back({params[i].size(), call.out<T>(params[i], shape), call.in<T>(grads[i], shape),
                            call.out<T>(m[i], shape), call.out<T>(v[i], shape)});
    }
    const AdamStep<T> s = step_of<T>(lr, beta1, beta2, eps, weight_decay, decoupled, step);
    call.run([&] { return adam_step(s, parameters.data(), static_cast<i64>(parameters.size()), stream_of(stream)); });
  });
}

}  // namespace

void bind_adam(py::module_& m) {
  m.def("adam_step", &adam_step_call, py::arg("params"), py::arg("grads"), py::arg("m"), py::arg("v"), py::arg("lr"),
        py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("decoupled"),
        py::arg("step"), py::kw_only(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
