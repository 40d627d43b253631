#include "ops/optim.h"

#include "bindings/module.h"
#include "bindings/optim_calls.h"

namespace jadro {
namespace {

using Arrays = std::vector<py::array>;

void step(OptimCall<Arrays> step) {
  Call call(step.name);
  step.check_counts(call);
  if (step.params.empty()) return;
  call.set_dtype(step.params[0], "params[0]");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    std::vector<OptimParameter<T>> parameters(step.params.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Dims shape(step.params[i]);
      OptimParameter<T>& a = parameters[i];
      a.n = step.params[i].size();
      a.p = call.out<T>(step.params[i], {"params", i}, shape);
      a.g = call.in<T>(step.grads[i], {"grads", i}, shape);
      for (std::size_t k = 0; k < step.states.size(); ++k) {
        a.state[k] = call.out<T>((*step.states[k].second)[i], {step.states[k].first, i}, shape);
      }
    }
    py::gil_scoped_release unlocked;
    optim_step(step.rule, step.numbers<T>(), parameters);
  });
}

void sgd_step(Arrays& params, Arrays& grads, Arrays& momentum_buffers, double lr, double momentum, double dampening,
              double weight_decay, bool nesterov, bool maximize) {
  step(sgd_call(params, grads, momentum_buffers, lr, momentum, dampening, weight_decay, nesterov, maximize));
}

void adagrad_step(Arrays& params, Arrays& grads, Arrays& sums, double lr, double eps, double weight_decay,
                  bool maximize) {
  step(adagrad_call(params, grads, sums, lr, eps, weight_decay, maximize));
}

void rmsprop_step(Arrays& params, Arrays& grads, Arrays& v, Arrays& means, Arrays& momentum_buffers, double lr,
                  double alpha, double eps, double weight_decay, double momentum, bool maximize) {
  step(rmsprop_call(params, grads, v, means, momentum_buffers, lr, alpha, eps, weight_decay, momentum, maximize));
}

void adam_step(Arrays& params, Arrays& grads, Arrays& m, Arrays& v, Arrays& largest_v, double lr, double beta1,
               double beta2, double eps, double weight_decay, bool decoupled, i64 count, bool maximize) {
  step(adam_call(params, grads, m, v, largest_v, lr, beta1, beta2, eps, weight_decay, decoupled, count, maximize));
}

template <class T>
std::vector<Span<T>> spans_of(const Call& call, Arrays& arrays) {
  std::vector<Span<T>> spans(arrays.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    spans[i] = {call.out<T>(arrays[i], {"grads", i}, Dims(arrays[i])), static_cast<i64>(arrays[i].size())};
  }
  return spans;
}

double norm_call(Arrays& grads, const std::string& of) {
  Call call("grad_norm");
  const Norm norm = norm_of(call, of);
  if (grads.empty()) return 0;
  call.set_dtype(grads[0], "grads[0]");
  double result = 0;
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<Span<T>> spans = spans_of<T>(call, grads);
    py::gil_scoped_release unlocked;
    result = grad_norm(norm, spans);
  });
  return result;
}

void clip_call(Arrays& grads, double scale, double bound) {
  Call call("grad_clip");
  if (grads.empty()) return;
  call.set_dtype(grads[0], "grads[0]");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<Span<T>> spans = spans_of<T>(call, grads);
    py::gil_scoped_release unlocked;
    grad_clip(static_cast<T>(scale), static_cast<T>(-bound), static_cast<T>(bound), spans);
  });
}

}  // namespace

void bind_optim(py::module_& m) {
  const auto params = py::arg("params"), grads = py::arg("grads"), lr = py::arg("lr"), eps = py::arg("eps"),
             weight_decay = py::arg("weight_decay"), momentum = py::arg("momentum");
  const auto maximize = py::arg("maximize") = false;
  m.def("sgd_step", &sgd_step, params, grads, py::arg("momentum_buffers"), lr, momentum, py::arg("dampening"),
        weight_decay, py::arg("nesterov"), maximize);
  m.def("adagrad_step", &adagrad_step, params, grads, py::arg("sums"), lr, eps, weight_decay, maximize);
  m.def("rmsprop_step", &rmsprop_step, params, grads, py::arg("v"), py::arg("means"), py::arg("momentum_buffers"), lr,
        py::arg("alpha"), eps, weight_decay, momentum, maximize);
  m.def("adam_step", &adam_step, params, grads, py::arg("m"), py::arg("v"), py::arg("largest_v"), lr, py::arg("beta1"),
        py::arg("beta2"), eps, weight_decay, py::arg("decoupled"), py::arg("step"), maximize);
  m.def("grad_norm", &norm_call, grads, py::arg("of"));
  m.def("grad_clip", &clip_call, grads, py::arg("scale"), py::arg("bound"));
}

}  // namespace jadro
