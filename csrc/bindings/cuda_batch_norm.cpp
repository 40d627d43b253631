#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/rectifier.h"
#include "cuda/batch_norm.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

void forward(const py::object& x_given, const Given& weight_given, const Given& bias_given, const Given& mean_given,
             const Given& var_given, const py::object& y_given, const py::object& save_mean_given,
             const py::object& save_rstd_given, bool training, double momentum, double eps, const Given& add_given,
             bool relu, const Given& affine_given, const Given& slope_given, const Bound& most, std::uintptr_t stream) {
  Call call("batch_norm_forward");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  const Array save_mean = call.read(save_mean_given, "save_mean"), save_rstd = call.read(save_rstd_given, "save_rstd");
  const Maybe weight = call.read(weight_given, "weight"), bias = call.read(bias_given, "bias");
  const Maybe mean = call.read(mean_given, "running_mean"), var = call.read(var_given, "running_var");
  const Maybe add = call.read(add_given, "add"), affine = call.read(affine_given, "save_affine");
  const Maybe slope = call.read(slope_given, "slope");
  call.set_any_dtype(x);
  call.check_rank(x, 3);
  call.require(eps >= 0, [&] { return "eps is " + std::to_string(eps) + ", expected a number of at least 0"; });
  call.require(training || (mean && var),
               [] { return "running_mean and running_var are missing, expected both in evaluation"; });
  const std::vector<i64>&shape = x.shape, channels = {shape[1]};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    // Evaluation only reads the running moments.
    const auto running = [&](const Maybe& a) {
      return training ? call.out<T>(a, channels) : const_cast<T*>(call.in<T>(a, channels));
    };
    BatchNormForward<T> f{};
    f.shape = {shape[0], shape[1], shape[2]};
    f.x = call.in<T>(x, shape);
    f.weight = call.in<T>(weight, channels);
    f.bias = call.in<T>(bias, channels);
    f.running_mean = running(mean);
    f.running_var = running(var);
    f.y = call.out<T>(y, shape);
    f.save_mean = call.out<Sum<T>>(save_mean, channels);
    f.save_rstd = call.out<Sum<T>>(save_rstd, channels);
    f.add = call.in<T>(add, shape);
    f.rectifier = {relu, call.in<T>(slope, channels), bound_of<Sum<T>>(most)};
    f.save_affine = call.out<Sum<T>>(affine, {2, shape[1]});
    f.training = training;
    f.momentum = momentum;
    f.eps = eps;
    call.run(batch_norm_scratch(f.shape),
             [&](void* scratch) { return batch_norm_forward(f, scratch, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& x_given, const Given& weight_given,
              const py::object& save_mean_given, const py::object& save_rstd_given, const Given& dx_given,
              const Given& dweight_given, const Given& dbias_given, bool training, const Given& affine_given,
              const Given& y_given, const Given& dadd_given, const Given& slope_given, const Bound& most,
              std::uintptr_t stream) {
  Call call("batch_norm_backward");
  const Array dy = call.read(dy_given, "dy"), x = call.read(x_given, "x");
  const Array save_mean = call.read(save_mean_given, "save_mean"), save_rstd = call.read(save_rstd_given, "save_rstd");
  const Maybe weight = call.read(weight_given, "weight"), affine = call.read(affine_given, "affine");
  const Maybe y = call.read(y_given, "y"), dx = call.read(dx_given, "dx"), dadd = call.read(dadd_given, "dadd");
  const Maybe dweight = call.read(dweight_given, "dweight"), dbias = call.read(dbias_given, "dbias");
  const Maybe slope = call.read(slope_given, "slope");
  call.set_any_dtype(x);
  call.check_rank(x, 3);
  call.require(dx || !dadd, [] { return "dadd is given without dx, expected both"; });
  call.require(affine || !(y || dadd), [] { return "y or dadd is given without affine, expected all three"; });
  const std::vector<i64>&shape = x.shape, channels = {shape[1]};
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    BatchNormBackward<T> b{};
    b.shape = {shape[0], shape[1], shape[2]};
    b.dy = call.in<T>(dy, shape);
    b.x = call.in<T>(x, shape);
    b.weight = call.in<T>(weight, channels);
    b.save_mean = call.in<Sum<T>>(save_mean, channels);
    b.save_rstd = call.in<Sum<T>>(save_rstd, channels);
    b.dx = call.out<T>(dx, shape);
    b.dweight = call.out<T>(dweight, channels);
    b.dbias = call.out<T>(dbias, channels);
    b.affine = call.in<Sum<T>>(affine, {2, shape[1]});
    b.y = call.in<T>(y, shape);
    b.dadd = call.out<T>(dadd, shape);
    b.rectifier = {affine.has_value(), call.in<T>(slope, channels), bound_of<Sum<T>>(most)};
    b.training = training;
    call.run(batch_norm_scratch(b.shape),
             [&](void* scratch) { return batch_norm_backward(b, scratch, stream_of(stream)); });
  });
}

}  // namespace

void bind_batch_norm(py::module_& m) {
  m.def("batch_norm_forward", &forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("running_mean"),
        py::arg("running_var"), py::arg("y"), py::arg("save_mean"), py::arg("save_rstd"), py::arg("training"),
        py::arg("momentum"), py::arg("eps"), py::arg("add") = py::none(), py::arg("relu") = false,
        py::arg("save_affine") = py::none(), py::arg("slope") = py::none(), py::arg("most") = py::none(), py::kw_only(),
        py::arg("stream") = 0);
  m.def("batch_norm_backward", &backward, py::arg("dy"), py::arg("x"), py::arg("weight"), py::arg("save_mean"),
        py::arg("save_rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"), py::arg("training"),
        py::arg("affine") = py::none(), py::arg("y") = py::none(), py::arg("dadd") = py::none(),
        py::arg("slope") = py::none(), py::arg("most") = py::none(), py::kw_only(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
