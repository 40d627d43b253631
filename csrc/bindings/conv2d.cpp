#include "ops/conv2d.h"

#include "bindings/conv2d_problem.h"
#include "bindings/module.h"
#include "bindings/rectifier.h"

namespace jadro {
namespace {

std::string axes_text(const Conv2d& s, i64 axes, i64 Conv2dAxis::* size) {
  return axes == 3 ? shape_text({s.d.*size, s.h.*size, s.w.*size}) : shape_text({s.h.*size, s.w.*size});
}

Conv2dAlgorithm algorithm_of(const Call& call, const Conv2d& s, i64 axes, const std::string& name) {
  if (name == "auto") return Conv2dAlgorithm::kAuto;
  if (name == "direct") return Conv2dAlgorithm::kDirect;
  if (name == "im2col") return Conv2dAlgorithm::kIm2col;
  if (name != "winograd") {
    call.value_error("algorithm is '" + name + "', expected auto, direct, im2col or winograd");
  }
  call.require(winograd_serves(s), [&] {
    return "algorithm is 'winograd', which serves kernels of (2, 2), (3, 3) and (5, 5) in the last two axes and stride "
           "1, or of (3, 3) to (6, 6) and stride 2 on images, dilation 1; kernel " +
           axes_text(s, axes, &Conv2dAxis::kernel) + ", stride " + axes_text(s, axes, &Conv2dAxis::stride) +
           ", dilation " + axes_text(s, axes, &Conv2dAxis::dilation);
  });
  return Conv2dAlgorithm::kWinograd;
}

void forward(const py::array& x, const py::array& w, const std::optional<py::array>& b, py::array& y,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups, const std::string& algorithm,
             const std::string& padding_mode, bool relu, const std::optional<py::array>& scale,
             const std::optional<py::array>& add, const std::optional<py::array>& slope, const Bound& most) {
  Call call("conv2d_forward");
  call.set_dtype(x, "x");
  const Conv2dProblem p(call, shape_of(x), "x", shape_of(w), "w", {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, p.shape, p.axes, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* px = call.in<T>(x, "x", p.x_shape());
    const T* pw = call.in<T>(w, "w", p.w_shape());
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, "b", {p.shape.oc}), call.in<T>(scale, "scale", {p.shape.oc}),
                                     call.in<T>(add, "add", p.y_shape()),
                                     rectifier_of<T>(call, relu, slope, most, p.shape.oc)};
    T* py_ = call.out<T>(y, "y", p.y_shape());
    py::gil_scoped_release unlocked;
    conv2d_forward(p.shape, px, pw, py_, epilogue, chosen);
  });
}

void backward_data(const py::array& dy, const py::array& w, py::array& dx, const Sizes& stride, const Sizes& padding,
                   const Sizes& dilation, i64 groups, const std::string& algorithm, const std::string& padding_mode,
                   const std::optional<py::array>& b, bool relu, const std::optional<py::array>& scale,
                   const std::optional<py::array>& add, const std::optional<py::array>& slope, const Bound& most) {
  Call call("conv2d_backward_data");
  call.set_dtype(dy, "dy");
  const Conv2dProblem p(call, shape_of(dx), "dx", shape_of(w), "w", {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, p.shape, p.axes, algorithm);
  call.require(p.shape.padding_mode == PaddingMode::kZeros || !(b || relu || scale || add), [&] {
    return "padding_mode is '" + padding_mode + "', expected 'zeros' where b, relu, scale or add is given";
  });
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* pdy = call.in<T>(dy, "dy", p.y_shape());
    const T* pw = call.in<T>(w, "w", p.w_shape());
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, "b", {p.shape.ic}), call.in<T>(scale, "scale", {p.shape.ic}),
                                     call.in<T>(add, "add", p.x_shape()),
                                     rectifier_of<T>(call, relu, slope, most, p.shape.ic)};
    T* pdx = call.out<T>(dx, "dx", p.x_shape());
    py::gil_scoped_release unlocked;
    conv2d_backward_data(p.shape, pdy, pw, pdx, epilogue, chosen);
  });
}

void backward_weight(const py::array& dy, const py::array& x, py::array& dw, std::optional<py::array>& db,
                     const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups,
                     const std::string& algorithm, const std::string& padding_mode) {
  Call call("conv2d_backward_weight");
  call.set_dtype(dy, "dy");
  const Conv2dProblem p(call, shape_of(x), "x", shape_of(dw), "dw", {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, p.shape, p.axes, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* pdy = call.in<T>(dy, "dy", p.y_shape());
    const T* px = call.in<T>(x, "x", p.x_shape());
    T* pdw = call.out<T>(dw, "dw", p.w_shape());
    T* pdb = call.out<T>(db, "db", {p.shape.oc});
    py::gil_scoped_release unlocked;
    conv2d_backward_weight(p.shape, pdy, px, pdw, pdb, chosen);
  });
}

}  // namespace

void bind_conv2d(py::module_& m) {
  const auto stride = py::arg("stride");
  const auto padding = py::arg("padding");
  const auto dilation = py::arg("dilation");
  const auto groups = py::arg("groups");
  const auto algorithm = py::arg("algorithm") = "auto";
  const auto padding_mode = py::arg("padding_mode") = "zeros";
  const auto relu = py::arg("relu") = false;
  const auto slope = py::arg("slope") = py::none(), most = py::arg("most") = py::none();
  const auto bias = py::arg("b") = py::none(), scale = py::arg("scale") = py::none(), add = py::arg("add") = py::none();
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, padding_mode, relu, scale, add, slope, most);
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm, padding_mode, bias, relu, scale, add, slope, most);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm, padding_mode);
}

}  // namespace jadro
