#include "ops/batch_norm.h"

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/rectifier.h"

namespace jadro {
namespace {

using Optional = std::optional<py::array>;

void forward(const py::array& x, const Optional& weight, const Optional& bias, Optional& running_mean,
             Optional& running_var, py::array& y, py::array& save_mean, py::array& save_rstd, bool training,
             double momentum, double eps, const Optional& add, bool relu, Optional& save_affine, const Optional& slope,
             const Bound& most) {
  Call call("batch_norm_forward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 3);
  if (!(eps >= 0)) call.value_error("eps is " + std::to_string(eps) + ", expected a number of at least 0");
  if (!training && !(running_mean && running_var)) {
    call.value_error("running_mean and running_var are missing, expected both in evaluation");
  }
  const std::vector<i64> shape = shape_of(x), channels = {shape[1]};
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    // Evaluation only reads the running moments.
    const auto running = [&](Optional& a, const char* argument) {
      return training ? call.out<T>(a, argument, channels) : const_cast<T*>(call.in<T>(a, argument, channels));
    };
    BatchNormForward<T> f{};
    f.shape = {shape[0], shape[1], shape[2]};
    f.x = call.in<T>(x, "x", shape);
    f.weight = call.in<T>(weight, "weight", channels);
    f.bias = call.in<T>(bias, "bias", channels);
    f.running_mean = running(running_mean, "running_mean");
    f.running_var = running(running_var, "running_var");
    f.y = call.out<T>(y, "y", shape);
    f.save_mean = call.out<T>(save_mean, "save_mean", channels);
    f.save_rstd = call.out<T>(save_rstd, "save_rstd", channels);
    f.add = call.in<T>(add, "add", shape);
    f.rectifier = rectifier_of<T>(call, relu, slope, most, shape[1]);
    f.save_affine = call.out<T>(save_affine, "save_affine", {2, shape[1]});
    f.training = training;
    f.momentum = momentum;
    f.eps = eps;
    py::gil_scoped_release unlocked;
    batch_norm_forward(f);
  });
}

void backward(const py::array& dy, const py::array& x, const Optional& weight, const py::array& save_mean,
              const py::array& save_rstd, Optional& dx, Optional& dweight, Optional& dbias, bool training,
              const Optional& affine, const Optional& y, Optional& dadd, const Optional& slope, const Bound& most) {
  Call call("batch_norm_backward");
  call.set_dtype(x, "x");
  call.check_rank(x, "x", 3);
  call.require(dx || !dadd, [] { return "dadd is given without dx, expected both"; });
  call.require(affine || !(y || dadd), [] { return "y or dadd is given without affine, expected all three"; });
  const std::vector<i64> shape = shape_of(x), channels = {shape[1]};
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    BatchNormBackward<T> b{};
    b.shape = {shape[0], shape[1], shape[2]};
    b.dy = call.in<T>(dy, "dy", shape);
    b.x = call.in<T>(x, "x", shape);
    b.weight = call.in<T>(weight, "weight", channels);
    b.save_mean = call.in<T>(save_mean, "save_mean", channels);
    b.save_rstd = call.in<T>(save_rstd, "save_rstd", channels);
    b.dx = call.out<T>(dx, "dx", shape);
    b.dweight = call.out<T>(dweight, "dweight", channels);
    b.dbias = call.out<T>(dbias, "dbias", channels);
    b.affine = call.in<T>(affine, "affine", {2, shape[1]});
    b.y = call.in<T>(y, "y", shape);
    b.dadd = call.out<T>(dadd, "dadd", shape);
    b.rectifier = rectifier_of<T>(call, affine.has_value(), slope, most, shape[1]);
    b.training = training;
    py::gil_scoped_release unlocked;
    batch_norm_backward(b);
  });
}

}  // namespace

void bind_batch_norm(py::module_& m) {
  m.def("batch_norm_forward", &forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("running_mean"),
        py::arg("running_var"), py::arg("y"), py::arg("save_mean"), py::arg("save_rstd"), py::arg("training"),
        py::arg("momentum"), py::arg("eps"), py::arg("add") = py::none(), py::arg("relu") = false,
        py::arg("save_affine") = py::none(), py::arg("slope") = py::none(), py::arg("most") = py::none());
  m.def("batch_norm_backward", &backward, py::arg("dy"), py::arg("x"), py::arg("weight"), py::arg("save_mean"),
        py::arg("save_rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"), py::arg("training"),
        py::arg("affine") = py::none(), py::arg("y") = py::none(), py::arg("dadd") = py::none(),
        py::arg("slope") = py::none(), py::arg("most") = py::none());
}

}  // namespace jadro
