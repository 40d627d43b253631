#include "ops/cross_entropy.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

// The problem of a call, with x[R,K], target[R] and weight[K] checked; *weights: the sum of the weights of the targets
// that count.
template <class T>
CrossEntropy<T> checked(const Call& call, const py::array& x, const py::array& target,
                        const std::optional<py::array>& weight, i64 ignore_index, double label_smoothing,
                        double* weights) {
  const i64 rows = x.shape(0), classes = x.shape(1);
  if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
    call.value_error("label_smoothing is " + std::to_string(label_smoothing) + ", expected 0 to 1");
  }
  CrossEntropy<T> problem{};
  problem.classes = classes;
  problem.x = call.in<T>(x, "x", shape_of(x));
  problem.target = call.in<i64>(target, "target", {rows});
  problem.weight = call.in<T>(weight, "weight", {classes});
  problem.ignore_index = ignore_index;
  for (i64 r = 0; r < rows; ++r) {
    const i64 t = problem.target[r];
    if (t == ignore_index) continue;
    if (t >= 0 && t < classes) {
      *weights += problem.weight ? static_cast<double>(problem.weight[t]) : 1.0;
      continue;
    }
    call.value_error("target[" + std::to_string(r) + "] is " + std::to_string(t) + ", expected 0 to " +
                     std::to_string(classes - 1) + " or ignore_index " + std::to_string(ignore_index));
  }
  problem.hard = 1 - label_smoothing;
  problem.smooth = classes > 0 ? label_smoothing / static_cast<double>(classes) : 0;
  for (i64 k = 0; k < classes; ++k) problem.weight_sum += problem.weight ? problem.weight[k] : 1.0;
  return problem;
}

double forward(const py::array& x, const py::array& target, const std::optional<py::array>& weight, py::array& losses,
               py::array& lse, i64 ignore_index, double label_smoothing) {
  Call call("cross_entropy_forward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 2);
  const i64 rows = x.shape(0);
  double weights = 0;
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const CrossEntropy<T> problem = checked<T>(call, x, target, weight, ignore_index, label_smoothing, &weights);
    T* out = call.out<T>(losses, "losses", {rows});
    T* log_sums = call.out<T>(lse, "lse", {rows});
    py::gil_scoped_release unlocked;
    cross_entropy_forward(problem, rows, out, log_sums);
  });
  return weights;
}

void backward(const py::array& x, const py::array& target, const std::optional<py::array>& weight, const py::array& lse,
              const py::array& dlosses, py::array& dx, i64 ignore_index, double label_smoothing) {
  Call call("cross_entropy_backward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 2);
  const i64 rows = x.shape(0);
  double weights = 0;
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const CrossEntropy<T> problem = checked<T>(call, x, target, weight, ignore_index, label_smoothing, &weights);
    const T* log_sums = call.in<T>(lse, "lse", {rows});
    const T* gradients = call.in<T>(dlosses, "dlosses", {rows});
    T* out = call.out<T>(dx, "dx", {rows, x.shape(1)});
    py::gil_scoped_release unlocked;
    cross_entropy_backward(problem, rows, log_sums, gradients, out);
  });
}

}  // namespace

void bind_cross_entropy(py::module_& m) {
  m.def("cross_entropy_forward", &forward, py::arg("x"), py::arg("target"), py::arg("weight"), py::arg("losses"),
        py::arg("lse"), py::arg("ignore_index"), py::arg("label_smoothing"));
  m.def("cross_entropy_backward", &backward, py::arg("x"), py::arg("target"), py::arg("weight"), py::arg("lse"),
        py::arg("dlosses"), py::arg("dx"), py::arg("ignore_index"), py::arg("label_smoothing"));
}

}  // namespace jadro
