#include "ops/group_norm.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Optional = std::optional<py::array>;

ChannelShape shape_checked(Call& call, const py::array& x, i64 groups) {
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 3);
  const std::vector<i64> shape = shape_of(x);
  call.require(groups >= 1 && shape[1] % groups == 0 && shape[1] > 0 && shape[2] > 0, [&] {
    return "groups is " + std::to_string(groups) + " and x has shape " + shape_text(shape) +
           ", expected a divisor of the channels, and no empty axis but the batch";
  });
  return {shape[0], shape[1], shape[2]};
}

void forward(const py::array& x, i64 groups, const Optional& weight, const Optional& bias, Optional& running_mean,
             Optional& running_var, py::array& y, py::array& save_mean, py::array& save_rstd, double momentum,
             double eps) {
  Call call("group_norm_forward");
  const ChannelShape shape = shape_checked(call, x, groups);
  call.require(eps >= 0, [&] { return "eps is " + std::to_string(eps) + ", expected a number of at least 0"; });
  const bool running = running_mean.has_value();
  call.require(running == running_var.has_value() && (!running || (groups == shape.c && shape.s > 1)), [] {
    return "running_mean or running_var is given, expected both, for one group a channel and several numbers in each";
  });
  const std::vector<i64> channels = {shape.c}, pieces = {shape.n, groups};
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    GroupNormForward<T> f{};
    f.shape = shape;
    f.groups = groups;
    f.x = call.in<T>(x, "x", shape_of(x));
    f.weight = call.in<T>(weight, "weight", channels);
    f.bias = call.in<T>(bias, "bias", channels);
    f.running_mean = call.out<T>(running_mean, "running_mean", channels);
    f.running_var = call.out<T>(running_var, "running_var", channels);
    f.y = call.out<T>(y, "y", shape_of(x));
    f.save_mean = call.out<T>(save_mean, "save_mean", pieces);
    f.save_rstd = call.out<T>(save_rstd, "save_rstd", pieces);
    f.momentum = momentum;
    f.eps = eps;
    py::gil_scoped_release unlocked;
    group_norm_forward(f);
  });
}

void backward(const py::array& dy, const py::array& x, i64 groups, const Optional& weight, const py::array& save_mean,
              const py::array& save_rstd, Optional& dx, Optional& dweight, Optional& dbias) {
  Call call("group_norm_backward");
  const ChannelShape shape = shape_checked(call, x, groups);
  const std::vector<i64> channels = {shape.c}, pieces = {shape.n, groups};
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    GroupNormBackward<T> b{};
    b.shape = shape;
    b.groups = groups;
    b.dy = call.in<T>(dy, "dy", shape_of(x));
    b.x = call.in<T>(x, "x", shape_of(x));
    b.weight = call.in<T>(weight, "weight", channels);
    b.save_mean = call.in<T>(save_mean, "save_mean", pieces);
    b.save_rstd = call.in<T>(save_rstd, "save_rstd", pieces);
    b.dx = call.out<T>(dx, "dx", shape_of(x));
    b.dweight = call.out<T>(dweight, "dweight", channels);
    b.dbias = call.out<T>(dbias, "dbias", channels);
    py::gil_scoped_release unlocked;
    group_norm_backward(b);
  });
}

}  // namespace

void bind_group_norm(py::module_& m) {
  m.def("group_norm_forward", &forward, py::arg("x"), py::arg("groups"), py::arg("weight"), py::arg("bias"),
        py::arg("running_mean"), py::arg("running_var"), py::arg("y"), py::arg("save_mean"), py::arg("save_rstd"),
        py::arg("momentum"), py::arg("eps"));
  m.def("group_norm_backward", &backward, py::arg("dy"), py::arg("x"), py::arg("groups"), py::arg("weight"),
        py::arg("save_mean"), py::arg("save_rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"));
}

}  // namespace jadro
