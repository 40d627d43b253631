#include <cmath>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/launch.h"
#include "cuda/optim.h"

namespace jadro::cuda {
namespace {

using Objects = std::vector<py::object>;

// The arguments of one step: the lists of the optimizer's state in the order of OptimParameter, those left out empty.
struct Lists {
  const Objects &params, &grads;
  std::vector<std::pair<const char*, const Objects*>> states;
};

// One call of optim_step; numbers fills in the step.
template <class Numbers>
void step(const char* name, OptimRule rule, const Lists& lists, double weight_decay, bool maximize,
          std::uintptr_t stream, Numbers numbers) {
  Call call(name);
  const auto check_count = [&](const Objects& list, const char* argument) {
    call.require(list.size() == lists.params.size(), [&] {
      return std::string(argument) + " has " + std::to_string(list.size()) + " arrays, expected " +
             std::to_string(lists.params.size()) + " as params";
    });
  };
  check_count(lists.grads, "grads");
  for (const auto& [argument, list] : lists.states) check_count(*list, argument);
  if (lists.params.empty()) return;
  const std::vector<Array> params = call.read(lists.params, "params"), grads = call.read(lists.grads, "grads");
  std::vector<std::vector<Array>> states;
  for (const auto& [argument, list] : lists.states) states.push_back(call.read(*list, argument));
  call.set_dtype(params[0]);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    std::vector<OptimParameter<T>> parameters(params.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      OptimParameter<T>& a = parameters[i];
      a.n = params[i].size();
      a.p = call.out<T>(params[i], params[i].shape);
      a.g = call.in<T>(grads[i], params[i].shape);
      for (std::size_t k = 0; k < states.size(); ++k) a.state[k] = call.out<T>(states[k][i], params[i].shape);
    }
    OptimStep<T> o{};
    o.sign = maximize ? -1 : 1;
    o.shrink = 1;
    o.decay = static_cast<T>(weight_decay);
    numbers(o);
    call.run(
        [&] { return optim_step(rule, o, parameters.data(), static_cast<i64>(parameters.size()), stream_of(stream)); });
  });
}

template <class T>
T as(T*, double number) {
  return static_cast<T>(number);
}

void sgd_step(const Objects& params, const Objects& grads, const Objects& momentum_buffers, double lr, double momentum,
              double dampening, double weight_decay, bool nesterov, bool maximize, std::uintptr_t stream) {
  const bool plain = momentum_buffers.empty();
  Lists lists{params, grads, {}};
  if (!plain) lists.states = {{"momentum_buffers", &momentum_buffers}};
  const OptimRule rule = plain ? OptimRule::kSgd : OptimRule::kSgdMomentum;
  step("sgd_step", rule, lists, weight_decay, maximize, stream, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.momentum = as(&o.rate, momentum);
    o.alpha1 = as(&o.rate, 1 - dampening);
    o.nesterov = nesterov;
  });
}

void adagrad_step(const Objects& params, const Objects& grads, const Objects& sums, double lr, double eps,
                  double weight_decay, bool maximize, std::uintptr_t stream) {
  const Lists lists{params, grads, {{"sums", &sums}}};
  step("adagrad_step", OptimRule::kAdagrad, lists, weight_decay, maximize, stream, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.eps = as(&o.rate, eps);
  });
}

void rmsprop_step(const Objects& params, const Objects& grads, const Objects& v, const Objects& means,
                  const Objects& momentum_buffers, double lr, double alpha, double eps, double weight_decay,
                  double momentum, bool maximize, std::uintptr_t stream) {
  Lists lists{params, grads, {{"v", &v}}};
  if (!means.empty()) lists.states.emplace_back("means", &means);
  if (!momentum_buffers.empty()) lists.states.emplace_back("momentum_buffers", &momentum_buffers);
  const OptimRule rule = means.empty() ? momentum_buffers.empty() ? OptimRule::kRmsprop : OptimRule::kRmspropMomentum
                         : momentum_buffers.empty() ? OptimRule::kRmspropCentered
                                                    : OptimRule::kRmspropCenteredMomentum;
  step("rmsprop_step", rule, lists, weight_decay, maximize, stream, [&](auto& o) {
    o.rate = as(&o.rate, lr);
    o.beta2 = as(&o.rate, alpha);
    o.alpha2 = as(&o.rate, 1 - alpha);
    o.eps = as(&o.rate, eps);
    o.momentum = as(&o.rate, momentum);
  });
}

void adam_step(const Objects& params, const Objects& grads, const Objects& m, const Objects& v,
               const Objects& largest_v, double lr, double beta1, double beta2, double eps, double weight_decay,
               bool decoupled, i64 count, bool maximize, std::uintptr_t stream) {
  if (count < 1) {
    throw py::value_error("adam_step: step is " + std::to_string(count) + ", expected at least 1");
  }
  Lists lists{params, grads, {{"m", &m}, {"v", &v}}};
  if (!largest_v.empty()) lists.states.emplace_back("largest_v", &largest_v);
  const OptimRule rule = largest_v.empty() ? OptimRule::kAdam : OptimRule::kAdamLargest;
  step("adam_step", rule, lists, decoupled ? 0 : weight_decay, maximize, stream, [&](auto& o) {
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
std::vector<Run<T>> runs_of(Call& call, const std::vector<Array>& arrays) {
  std::vector<Run<T>> runs;
  for (const Array& a : arrays) runs.push_back({call.out<T>(a, a.shape), a.size()});
  return runs;
}

double norm_call(const Objects& given, const std::string& of, std::uintptr_t stream) {
  Call call("grad_norm");
  call.require(of == "sizes" || of == "squares" || of == "largest",
               [&] { return "of is '" + of + "', expected sizes, squares or largest"; });
  const Norm norm = of == "sizes" ? Norm::kSizes : of == "squares" ? Norm::kSquares : Norm::kLargest;
  if (given.empty()) return 0;
  const std::vector<Array> grads = call.read(given, "grads");
  call.set_dtype(grads[0]);
  double result = 0;
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const std::vector<Run<T>> runs = runs_of<T>(call, grads);
    const i64 count = static_cast<i64>(runs.size());
    call.run(grad_norm_scratch(runs.data(), count) * static_cast<i64>(sizeof(double)), [&](void* scratch) {
      return grad_norm(norm, runs.data(), count, &result, static_cast<double*>(scratch), stream_of(stream));
    });
  });
  return result;
}

void clip_call(const Objects& given, double scale, double bound, std::uintptr_t stream) {
  Call call("grad_clip");
  if (given.empty()) return;
  const std::vector<Array> grads = call.read(given, "grads");
  call.set_dtype(grads[0]);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const std::vector<Run<T>> runs = runs_of<T>(call, grads);
    call.run([&] {
      return grad_clip(static_cast<T>(scale), static_cast<T>(-bound), static_cast<T>(bound), runs.data(),
                       static_cast<i64>(runs.size()), stream_of(stream));
    });
  });
}

}  // namespace

void bind_optim(py::module_& m) {
  const auto params = py::arg("params"), grads = py::arg("grads"), lr = py::arg("lr"), eps = py::arg("eps"),
             weight_decay = py::arg("weight_decay"), momentum = py::arg("momentum");
  const py::arg_v maximize = py::arg("maximize") = false, on_stream = py::arg("stream") = 0;
  m.def("sgd_step", &sgd_step, params, grads, py::arg("momentum_buffers"), lr, momentum, py::arg("dampening"),
        weight_decay, py::arg("nesterov"), maximize, py::kw_only(), on_stream);
  m.def("adagrad_step", &adagrad_step, params, grads, py::arg("sums"), lr, eps, weight_decay, maximize, py::kw_only(),
        on_stream);
  m.def("rmsprop_step", &rmsprop_step, params, grads, py::arg("v"), py::arg("means"), py::arg("momentum_buffers"), lr,
        py::arg("alpha"), eps, weight_decay, momentum, maximize, py::kw_only(), on_stream);
  m.def("adam_step", &adam_step, params, grads, py::arg("m"), py::arg("v"), py::arg("largest_v"), lr, py::arg("beta1"),
        py::arg("beta2"), eps, weight_decay, py::arg("decoupled"), py::arg("step"), maximize, py::kw_only(), on_stream);
  m.def("grad_norm", &norm_call, grads, py::arg("of"), py::kw_only(), on_stream);
  m.def("grad_clip", &clip_call, grads, py::arg("scale"), py::arg("bound"), py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
