#include "ops/avg_pool.h"

#include "bindings/avg_pool_problem.h"
#include "bindings/module.h"

namespace jadro {
namespace {

void forward(const py::array& x, py::array& y, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
             bool padding_counts, i64 divisor) {
  Call call("avg_pool_forward");
  call.set_dtype(x, "x");
  const Sizes in = shape_of(x), out = shape_of(y);
  const AvgPoolProblem p = avg_pool_problem(call, in, out, kernel, stride, padding, padding_counts, divisor);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(x, "x", in);
    T* to = call.out<T>(y, "y", out);
    py::gil_scoped_release unlocked;
    avg_pool_forward(p, from, to);
  });
}

void backward(const py::array& dy, py::array& dx, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
              bool padding_counts, i64 divisor) {
  Call call("avg_pool_backward");
  call.set_dtype(dy, "dy");
  const Sizes in = shape_of(dx), out = shape_of(dy);
  const AvgPoolProblem p = avg_pool_problem(call, in, out, kernel, stride, padding, padding_counts, divisor);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* from = call.in<T>(dy, "dy", out);
    T* to = call.out<T>(dx, "dx", in);
    py::gil_scoped_release unlocked;
    avg_pool_backward(p, from, to);
  });
}

}  // namespace

void bind_avg_pool(py::module_& m) {
  m.def("avg_pool_forward", &forward, py::arg("x"), py::arg("y"), py::arg("kernel"), py::arg("stride"),
        py::arg("padding"), py::arg("padding_counts"), py::arg("divisor"));
  m.def("avg_pool_backward", &backward, py::arg("dy"), py::arg("dx"), py::arg("kernel"), py::arg("stride"),
        py::arg("padding"), py::arg("padding_counts"), py::arg("divisor"));
}

}  // namespace jadro
