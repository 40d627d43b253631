#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/optim_calls.h"
#include "cuda/launch.h"
#include "cuda/optim.h"

namespace jadro::cuda {
namespace {

using Objects = std::vector<py::object>;

void step(const OptimCall<const Objects>& step, std::uintptr_t stream) {
  Call call(step.name);
  step.check_counts(call);
  if (step.params.empty()) return;
  const std::vector<Array> params = call.read(step.params, "params"), grads = call.read(step.grads, "grads");
  std::vector<std::vector<Array>> states;
  for (const auto& [argument, list] : step.states) states.push_back(call.read(*list, argument));
  call.set_any_dtype(params[0]);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    std::vector<OptimParameter<T>> parameters(params.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      OptimParameter<T>& a = parameters[i];
      a.n = params[i].size();
      a.p = call.out<T>(params[i], params[i].shape);
      a.g = call.in<T>(grads[i], params[i].shape);
      for (std::size_t k = 0; k < states.size(); ++k) a.state[k] = call.out<T>(states[k][i], params[i].shape);
    }
    call.run([&] {
      const i64 count = static_cast<i64>(parameters.size());
      return optim_step(step.rule, step.numbers<Sum<T>>(), parameters.data(), count, stream_of(stream));
    });
  });
}

void sgd_step(const Objects& params, const Objects& grads, const Objects& momentum_buffers, double lr, double momentum,
              double dampening, double weight_decay, bool nesterov, bool maximize, std::uintptr_t stream) {
  step(sgd_call(params, grads, momentum_buffers, lr, momentum, dampening, weight_decay, nesterov, maximize), stream);
}

void adagrad_step(const Objects& params, const Objects& grads, const Objects& sums, double lr, double eps,
                  double weight_decay, bool maximize, std::uintptr_t stream) {
  step(adagrad_call(params, grads, sums, lr, eps, weight_decay, maximize), stream);
}

void rmsprop_step(const Objects& params, const Objects& grads, const Objects& v, const Objects& means,
                  const Objects& momentum_buffers, double lr, double alpha, double eps, double weight_decay,
                  double momentum, bool maximize, std::uintptr_t stream) {
  step(rmsprop_call(params, grads, v, means, momentum_buffers, lr, alpha, eps, weight_decay, momentum, maximize),
       stream);
}

void adam_step(const Objects& params, const Objects& grads, const Objects& m, const Objects& v,
               const Objects& largest_v, double lr, double beta1, double beta2, double eps, double weight_decay,
               bool decoupled, i64 count, bool maximize, std::uintptr_t stream) {
  step(adam_call(params, grads, m, v, largest_v, lr, beta1, beta2, eps, weight_decay, decoupled, count, maximize),
       stream);
}

template <class T>
std::vector<Span<T>> spans_of(Call& call, const std::vector<Array>& arrays) {
  std::vector<Span<T>> spans;
  for (const Array& a : arrays) spans.push_back({call.out<T>(a, a.shape), a.size()});
  return spans;
}

double norm_call(const Objects& given, const std::string& of, std::uintptr_t stream) {
  Call call("grad_norm");
  const Norm norm = norm_of(call, of);
  if (given.empty()) return 0;
  const std::vector<Array> grads = call.read(given, "grads");
  call.set_any_dtype(grads[0]);
  double result = 0;
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const std::vector<Span<T>> spans = spans_of<T>(call, grads);
    const i64 count = static_cast<i64>(spans.size());
    call.run(grad_norm_scratch(spans.data(), count) * static_cast<i64>(sizeof(double)), [&](void* scratch) {
      return grad_norm(norm, spans.data(), count, &result, static_cast<double*>(scratch), stream_of(stream));
    });
  });
  return result;
}

void clip_call(const Objects& given, double scale, double bound, std::uintptr_t stream) {
  Call call("grad_clip");
  if (given.empty()) return;
  const std::vector<Array> grads = call.read(given, "grads");
  call.set_any_dtype(grads[0]);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const std::vector<Span<T>> spans = spans_of<T>(call, grads);
    call.run([&] {
      return grad_clip(static_cast<Sum<T>>(scale), static_cast<Sum<T>>(-bound), static_cast<Sum<T>>(bound),
                       spans.data(), static_cast<i64>(spans.size()), stream_of(stream));
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
