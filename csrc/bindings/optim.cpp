#include "ops/optim.h"

#include <cmath>

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Arrays = std::vector<py::array>;

// The arguments of one step: the lists of the optimizer's state in the order of OptimParameter, those left out empty.
struct Lists {
  const Arrays &params, &grads;
  std::vector<std::pair<const char*, Arrays*>> states;
};

template <class T>
std::vector<OptimParameter<T>> parameters_of(const Call& call, const Lists& lists) {
  std::vector<OptimParameter<T>> parameters(lists.params.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    py::array p = lists.params[i];
    const Dims shape(p);
    OptimParameter<T>& a = parameters[i];
    a.n = p.size();
    a.p = call.out<T>(p, {"params", i}, shape);
    a.g = call.in<T>(lists.grads[i], {"grads", i}, shape);
    for (std::size_t k = 0; k < lists.states.size(); ++k) {
      a.state[k] = call.out<T>((*lists.states[k].second)[i], {lists.states[k].first, i}, shape);
    }
  }
  return parameters;
}

// One call of optim_step; numbers fills in the step.
template <class Numbers>
void step(const char* name, OptimRule rule, const Lists& lists, double weight_decay, bool maximize, Numbers numbers) {
  Call call(name);
  const auto check_count = [&](const Arrays& list, const char* argument) {
    call.require(list.size() == lists.params.size(), [&] {
      return std::string(argument) + " has " + std::to_string(list.size()) + " arrays, expected " +
             std::to_string(lists.params.size()) + " as params";
    });
  };
  check_count(lists.grads, "grads");
  for (const auto& [argument, list] : lists.states) check_count(*list, argument);
  if (lists.params.empty()) return;
  call.set_dtype(lists.params[0], "params[0]");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<OptimParameter<T>> parameters = parameters_of<T>(call, lists);
    OptimStep<T> o{};
    o.sign = maximize ? -1 : 1;
    o.shrink = 1;
    o.decay = static_cast<T>(weight_decay);
    numbers(o);
    py::gil_scoped_release unlocked;
    optim_step(rule, o, parameters);
  });
}

template <class T>
T as(T*, double number) {
  return static_cast<T>(number);
}

void sgd_step(const Arrays& params, const Arrays& grads, Arrays& momentum_buffers, double lr, double momentum,
              double dampening, double weight_decay, bool nesterov, bool maximize) {
  const bool plain = momentum_buffers.empty();
  Lists lists{params, grads, {}};
  if (!plain) lists.states = {{"momentum_buffers", &momentum_buffers}};
  step("sgd_step", plain ? OptimRule::kSgd : OptimRule::kSgdMomentum, lists, weight_decay, maximize, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.momentum = as(&o.rate, momentum);
    o.alpha1 = as(&o.rate, 1 - dampening);
    o.nesterov = nesterov;
  });
}

void adagrad_step(const Arrays& params, const Arrays& grads, Arrays& sums, double lr, double eps, double weight_decay,
                  bool maximize) {
  step("adagrad_step", OptimRule::kAdagrad, {params, grads, {{"sums", &sums}}}, weight_decay, maximize, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.eps = as(&o.rate, eps);
  });
}

void rmsprop_step(const Arrays& params, const Arrays& grads, Arrays& v, Arrays& means, Arrays& momentum_buffers,
                  double lr, double alpha, double eps, double weight_decay, double momentum, bool maximize) {
  Lists lists{params, grads, {{"v", &v}}};
  if (!means.empty()) lists.states.emplace_back("means", &means);
  if (!momentum_buffers.empty()) lists.states.emplace_back("momentum_buffers", &momentum_buffers);
  const OptimRule rule = means.empty() ? momentum_buffers.empty() ? OptimRule::kRmsprop : OptimRule::kRmspropMomentum
                         : momentum_buffers.empty() ? OptimRule::kRmspropCentered
                                                    : OptimRule::kRmspropCenteredMomentum;
  step("rmsprop_step", rule, lists, weight_decay, maximize, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.beta2 = as(&o.rate, alpha);
    o.alpha2 = as(&o.rate, 1 - alpha);
    o.eps = as(&o.rate, eps);
    o.momentum = as(&o.rate, momentum);
  });
}

void adam_step(const Arrays& params, const Arrays& grads, Arrays& m, Arrays& v, Arrays& largest_v, double lr,
               double beta1, double beta2, double eps, double weight_decay, bool decoupled, i64 count, bool maximize) {
  if (count < 1) {
    throw py::value_error("adam_step: step is " + std::to_string(count) + ", expected at least 1");
  }
  Lists lists{params, grads, {{"m", &m}, {"v", &v}}};
  if (!largest_v.empty()) lists.states.emplace_back("largest_v", &largest_v);
  const OptimRule rule = largest_v.empty() ? OptimRule::kAdam : OptimRule::kAdamLargest;
  step("adam_step", rule, lists, decoupled ? 0 : weight_decay, maximize, [&](auto& o) {
    if (decoupled) o.shrink = as(&o.rate, 1 - lr * weight_decay);
    o.beta1 = as(&o.rate, beta1);
    o.alpha1 = as(&o.rate, 1 - beta1);
    o.beta2 = as(&o.rate, beta2);
    o.alpha2 = as(&o.rate, 1 - beta2);
    o.rate = as(&o.rate, lr / (1 - std::pow(beta1, static_cast<double>(count))));
    o.root = as(&o.rate, std::sqrt(1 - std::pow(beta2, static_cast<double>(count))));
    o.eps = as(&o.rate, eps);
  });
}

template <class T>
std::vector<Run<T>> runs_of(const Call& call, Arrays& arrays) {
  std::vector<Run<T>> runs(arrays.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i] = {call.out<T>(arrays[i], {"grads", i}, Dims(arrays[i])), static_cast<i64>(arrays[i].size())};
  }
  return runs;
}

double norm_call(Arrays& grads, const std::string& of) {
  Call call("grad_norm");
  call.require(of == "sizes" || of == "squares" || of == "largest",
               [&] { return "of is '" + of + "', expected sizes, squares or largest"; });
  const Norm norm = of == "sizes" ? Norm::kSizes : of == "squares" ? Norm::kSquares : Norm::kLargest;
  if (grads.empty()) return 0;
  call.set_dtype(grads[0], "grads[0]");
  double result = 0;
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<Run<T>> runs = runs_of<T>(call, grads);
    py::gil_scoped_release unlocked;
    result = grad_norm(norm, runs);
  });
  return result;
}

void clip_call(Arrays& grads, double scale, double bound) {
  Call call("grad_clip");
  if (grads.empty()) return;
  call.set_dtype(grads[0], "grads[0]");
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<Run<T>> runs = runs_of<T>(call, grads);
    py::gil_scoped_release unlocked;
    grad_clip(static_cast<T>(scale), static_cast<T>(-bound), static_cast<T>(bound), runs);
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
