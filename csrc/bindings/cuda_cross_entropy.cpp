#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/cross_entropy.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

// What both calls are given: x[rows,classes], target[rows], weight[classes] or None.
struct Given3 {
  Array x, target;
  Maybe weight;
  i64 rows, classes;

  Given3(Call& call, const py::object& x_given, const py::object& target_given, const Given& weight_given)
      : x(call.read(x_given, "x")),
        target(call.read(target_given, "target")),
        weight(call.read(weight_given, "weight")) {
    call.set_any_dtype(x);
    call.check_rank(x, 2);
    rows = x.shape[0];
    classes = x.shape[1];
  }

  template <class T>
  CrossEntropy<T> problem(Call& call, i64 ignore_index, double label_smoothing) const {
    call.require(label_smoothing >= 0 && label_smoothing <= 1,
                 [&] { return "label_smoothing is " + std::to_string(label_smoothing) + ", expected 0 to 1"; });
    CrossEntropy<T> p{};
    p.classes = classes;
    p.x = call.in<T>(x, x.shape);
    p.target = call.in<i64>(target, {rows});
    p.weight = call.in<T>(weight, {classes});
    p.ignore_index = ignore_index;
    p.hard = 1 - label_smoothing;
    p.smooth = classes > 0 ? label_smoothing / static_cast<double>(classes) : 0;
    return p;
  }
};

void forward(const py::object& x, const py::object& target, const Given& weight, const py::object& losses_given,
             const py::object& lse_given, i64 ignore_index, double label_smoothing, const Given& sums_given,
             std::uintptr_t stream) {
  Call call("cross_entropy_forward");
  const Given3 given(call, x, target, weight);
  const Array losses = call.read(losses_given, "losses"), lse = call.read(lse_given, "lse");
  const Maybe sums = call.read(sums_given, "sums");
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const CrossEntropy<T> problem = given.problem<T>(call, ignore_index, label_smoothing);
    Sum<T>* out = call.out<Sum<T>>(losses, {given.rows});
    Sum<T>* log_sums = call.out<Sum<T>>(lse, {given.rows});
    Sum<T>* totals = call.out<Sum<T>>(sums, {3});
    call.run(sums ? cross_entropy_scratch(given.rows) : 0, [&](void* scratch) {
      return cross_entropy_forward(problem, given.rows, out, log_sums, totals, scratch, stream_of(stream));
    });
  });
}

void backward(const py::object& x, const py::object& target, const Given& weight, const py::object& lse_given,
              const py::object& dlosses_given, const py::object& dx_given, i64 ignore_index, double label_smoothing,
              const Given& sums_given, std::uintptr_t stream) {
  Call call("cross_entropy_backward");
  const Given3 given(call, x, target, weight);
  const Array lse = call.read(lse_given, "lse"), dlosses = call.read(dlosses_given, "dlosses");
  const Array dx = call.read(dx_given, "dx");
  const Maybe sums = call.read(sums_given, "sums");
  const bool one = dlosses.shape.empty();
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const CrossEntropy<T> problem = given.problem<T>(call, ignore_index, label_smoothing);
    const Sum<T>* log_sums = call.in<Sum<T>>(lse, {given.rows});
    const LossGradients<T> gradients{call.in<T>(dlosses, one ? std::vector<i64>{} : std::vector<i64>{given.rows}),
                                     one ? 0 : 1, call.in<Sum<T>>(sums, {3})};
    T* out = call.out<T>(dx, {given.rows, given.classes});
    call.run([&] { return cross_entropy_backward(problem, given.rows, log_sums, gradients, out, stream_of(stream)); });
  });
}

}  // namespace

void bind_cross_entropy(py::module_& m) {
  m.def("cross_entropy_forward", &forward, py::arg("x"), py::arg("target"), py::arg("weight"), py::arg("losses"),
        py::arg("lse"), py::arg("ignore_index"), py::arg("label_smoothing"), py::kw_only(),
        py::arg("sums") = py::none(), py::arg("stream") = 0);
  m.def("cross_entropy_backward", &backward, py::arg("x"), py::arg("target"), py::arg("weight"), py::arg("lse"),
        py::arg("dlosses"), py::arg("dx"), py::arg("ignore_index"), py::arg("label_smoothing"), py::kw_only(),
        py::arg("sums") = py::none(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
