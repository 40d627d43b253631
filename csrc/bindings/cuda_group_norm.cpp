#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/group_norm.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

ChannelShape shape_checked(Call& call, const Array& x, i64 groups) {
  call.set_any_dtype(x);
  call.check_rank(x, 3);
  const std::vector<i64>& shape = x.shape;
  call.require(groups >= 1 && shape[1] % groups == 0 && shape[1] > 0 && shape[2] > 0, [&] {
    return "groups is " + std::to_string(groups) + " and x has shape " + shape_text(shape) +
           ", expected a divisor of the channels, and no empty axis but the batch";
  });
  return {shape[0], shape[1], shape[2]};
}

void forward(const py::object& x_given, i64 groups, const Given& weight_given, const Given& bias_given,
             const Given& mean_given, const Given& var_given, const py::object& y_given,
             const py::object& save_mean_given, const py::object& save_rstd_given, double momentum, double eps,
             std::uintptr_t stream) {
  Call call("group_norm_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  const Array save_mean = call.read(save_mean_given, "save_mean"), save_rstd = call.read(save_rstd_given, "save_rstd");
  const Maybe weight = call.read(weight_given, "weight"), bias = call.read(bias_given, "bias");
  const Maybe mean = call.read(mean_given, "running_mean"), var = call.read(var_given, "running_var");
  const ChannelShape shape = shape_checked(call, x, groups);
  call.require(eps >= 0, [&] { return "eps is " + std::to_string(eps) + ", expected a number of at least 0"; });
  const bool running = mean.has_value();
  call.require(running == var.has_value() && (!running || (groups == shape.c && shape.s > 1)), [] {
    return "running_mean or running_var is given, expected both, for one group a channel and several numbers in each";
  });
  const std::vector<i64> channels = {shape.c}, pieces = {shape.n, groups};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    GroupNormForward<T> f{};
    f.shape = shape;
    f.groups = groups;
    f.x = call.in<T>(x, x.shape);
    f.weight = call.in<T>(weight, channels);
    f.bias = call.in<T>(bias, channels);
    f.running_mean = call.out<T>(mean, channels);
    f.running_var = call.out<T>(var, channels);
    f.y = call.out<T>(y, x.shape);
    f.save_mean = call.out<Sum<T>>(save_mean, pieces);
    f.save_rstd = call.out<Sum<T>>(save_rstd, pieces);
    f.momentum = momentum;
    f.eps = eps;
    call.run(group_norm_scratch(shape, groups),
             [&](void* scratch) { return group_norm_forward(f, scratch, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& x_given, i64 groups, const Given& weight_given,
              const py::object& save_mean_given, const py::object& save_rstd_given, const Given& dx_given,
              const Given& dweight_given, const Given& dbias_given, std::uintptr_t stream) {
  Call call("group_norm_backward");
  const Array dy = call.read(dy_given, "dy"), x = call.read(x_given, "x");
  const Array save_mean = call.read(save_mean_given, "save_mean"), save_rstd = call.read(save_rstd_given, "save_rstd");
  const Maybe weight = call.read(weight_given, "weight"), dx = call.read(dx_given, "dx");
  const Maybe dweight = call.read(dweight_given, "dweight"), dbias = call.read(dbias_given, "dbias");
  const ChannelShape shape = shape_checked(call, x, groups);
  const std::vector<i64> channels = {shape.c}, pieces = {shape.n, groups};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    GroupNormBackward<T> b{};
    b.shape = shape;
    b.groups = groups;
    b.dy = call.in<T>(dy, x.shape);
    b.x = call.in<T>(x, x.shape);
    b.weight = call.in<T>(weight, channels);
    b.save_mean = call.in<Sum<T>>(save_mean, pieces);
    b.save_rstd = call.in<Sum<T>>(save_rstd, pieces);
    b.dx = call.out<T>(dx, x.shape);
    b.dweight = call.out<T>(dweight, channels);
    b.dbias = call.out<T>(dbias, channels);
    call.run(group_norm_scratch(shape, groups),
             [&](void* scratch) { return group_norm_backward(b, scratch, stream_of(stream)); });
  });
}

}  // namespace

void bind_group_norm(py::module_& m) {
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("group_norm_forward", &forward, py::arg("x"), py::arg("groups"), py::arg("weight"), py::arg("bias"),
        py::arg("running_mean"), py::arg("running_var"), py::arg("y"), py::arg("save_mean"), py::arg("save_rstd"),
        py::arg("momentum"), py::arg("eps"), py::kw_only(), on_stream);
  m.def("group_norm_backward", &backward, py::arg("dy"), py::arg("x"), py::arg("groups"), py::arg("weight"),
        py::arg("save_mean"), py::arg("save_rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"), py::kw_only(),
        on_stream);
}

}  // namespace jadro::cuda
