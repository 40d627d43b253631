#include "ops/adam.h"

#include <cmath>

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Arrays = std::vector<py::array>;

void adam_step_call(const Arrays& params, const Arrays& grads, Arrays& m, Arrays& v, double lr, double beta1,
                    double beta2, double eps, double weight_decay, bool decoupled, i64 step) {
  Call call("adam_step");
  const auto check_count = [&](const Arrays& list, const char* argument) {
    if (list.size() == params.size()) return;
    call.value_error(std::string(argument) + " has " + std::to_string(list.size()) + " arrays, expected " +
                     std::to_string(params.size()) + " as params");
  };
  check_count(grads, "grads");
  check_count(m, "m");
  check_count(v, "v");
  if (step < 1) call.value_error("step is " + std::to_string(step) + ", expected at least 1");
  if (params.empty()) return;
  call.set_dtype(params[0], "params[0]");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    std::vector<AdamParameter<T>> parameters;
    parameters.reserve(params.size());
    for (std::size_t i = 0; i < params.size(); ++i) {
      const auto name = [&](const char* list) { return list + ("[" + std::to_string(i) + "]"); };
      const std::vector<i64> shape = shape_of(params[i]);
      py::array p = params[i];
      parameters.push_back({static_cast<i64>(p.size()), call.out<T>(p, name("params").c_str(), shape),
                            call.in<T>(grads[i], name("grads").c_str(), shape),
                            call.out<T>(m[i], name("m").c_str(), shape), call.out<T>(v[i], name("v").c_str(), shape)});
    }
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
    py::gil_scoped_release unlocked;
    adam_step(s, parameters);
  });
}

}  // namespace

void bind_adam(py::module_& m) {
  m.def("adam_step", &adam_step_call, py::arg("params"), py::arg("grads"), py::arg("m"), py::arg("v"), py::arg("lr"),
        py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("decoupled"),
        py::arg("step"));
}

}  // namespace jadro
