// What the steps of optimizers are made of, for both modules: the rule, its numbers, and the lists of arrays that it
// takes.
#pragma once

#include <cmath>
#include <utility>

#include "bindings/arrays.h"

namespace jadro {

// List: of the module's arrays. `states` are the lists of the optimizer's state in the order of OptimParameter.
template <class List>
struct OptimCall {
  const char* name;
  List &params, &grads;
  std::vector<std::pair<const char*, List*>> states;
  OptimRule rule{};
  OptimStep<double> step{};

  OptimCall(const char* name, List& params, List& grads, double weight_decay, bool maximize)
      : name(name), params(params), grads(grads) {
    step.sign = maximize ? -1 : 1;
    step.shrink = 1;
    step.decay = weight_decay;
  }

  // A list that was not left out.
  bool add(const char* argument, List& list) {
    if (list.empty()) return false;
    states.emplace_back(argument, &list);
    return true;
  }

  void check_counts(const Call& call) const {
    check_count(call, grads, "grads");
    for (const auto& [argument, list] : states) check_count(call, *list, argument);
  }

  template <class T>
  OptimStep<T> numbers() const {
    const auto as = [](double number) { return static_cast<T>(number); };
    const OptimStep<double>& s = step;
    return {as(s.sign),   as(s.shrink), as(s.decay), as(s.beta1), as(s.alpha1),   as(s.beta2),
            as(s.alpha2), as(s.rate),   as(s.root),  as(s.eps),   as(s.momentum), s.nesterov};
  }

 private:
  void check_count(const Call& call, const List& list, const char* argument) const {
    call.require(list.size() == params.size(), [&] {
      return std::string(argument) + " has " + std::to_string(list.size()) + " arrays, expected " +
             std::to_string(params.size()) + " as params";
    });
  }
};

template <class List>
OptimCall<List> sgd_call(List& params, List& grads, List& momentum_buffers, double lr, double momentum,
                         double dampening, double weight_decay, bool nesterov, bool maximize) {
  OptimCall<List> call("sgd_step", params, grads, weight_decay, maximize);
  call.rule = call.add("momentum_buffers", momentum_buffers) ? OptimRule::kSgdMomentum : OptimRule::kSgd;
  call.step.rate = lr;
  call.step.momentum = momentum;
  call.step.alpha1 = 1 - dampening;
  call.step.nesterov = nesterov;
  return call;
}

template <class List>
OptimCall<List> adagrad_call(List& params, List& grads, List& sums, double lr, double eps, double weight_decay,
                             bool maximize) {
  OptimCall<List> call("adagrad_step", params, grads, weight_decay, maximize);
  call.states = {{"sums", &sums}};
  call.rule = OptimRule::kAdagrad;
  call.step.rate = lr;
  call.step.eps = eps;
  return call;
}

template <class List>
OptimCall<List> rmsprop_call(List& params, List& grads, List& v, List& means, List& momentum_buffers, double lr,
                             double alpha, double eps, double weight_decay, double momentum, bool maximize) {
  OptimCall<List> call("rmsprop_step", params, grads, weight_decay, maximize);
  call.states = {{"v", &v}};
  const bool centered = call.add("means", means), moves = call.add("momentum_buffers", momentum_buffers);
  call.rule = centered ? moves ? OptimRule::kRmspropCenteredMomentum : OptimRule::kRmspropCentered
              : moves  ? OptimRule::kRmspropMomentum
                       : OptimRule::kRmsprop;
  call.step.rate = lr;
  call.step.beta2 = alpha;
  call.step.alpha2 = 1 - alpha;
  call.step.eps = eps;
  call.step.momentum = momentum;
  return call;
}

template <class List>
OptimCall<List> adam_call(List& params, List& grads, List& m, List& v, List& largest_v, double lr, double beta1,
                          double beta2, double eps, double weight_decay, bool decoupled, i64 count, bool maximize) {
  if (count < 1) {
    throw py::value_error("adam_step: step is " + std::to_string(count) + ", expected at least 1");
  }
  OptimCall<List> call("adam_step", params, grads, decoupled ? 0 : weight_decay, maximize);
  call.states = {{"m", &m}, {"v", &v}};
  call.rule = call.add("largest_v", largest_v) ? OptimRule::kAdamLargest : OptimRule::kAdam;
  if (decoupled) call.step.shrink = 1 - lr * weight_decay;
  call.step.beta1 = beta1;
  call.step.alpha1 = 1 - beta1;
  call.step.beta2 = beta2;
  call.step.alpha2 = 1 - beta2;
  call.step.rate = lr / (1 - std::pow(beta1, static_cast<double>(count)));
  call.step.root = std::sqrt(1 - std::pow(beta2, static_cast<double>(count)));
  call.step.eps = eps;
  return call;
}

inline Norm norm_of(const Call& call, const std::string& of) {
  call.require(of == "sizes" || of == "squares" || of == "largest",
               [&] { return "of is '" + of + "', expected sizes, squares or largest"; });
  return of == "sizes" ? Norm::kSizes : of == "squares" ? Norm::kSquares : Norm::kLargest;
}

}  // namespace jadro
