#include "ops/conv2d.h"

#include <array>

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Pair = std::array<i64, 2>;
using Sides = std::array<i64, 4>;  // top, bottom, left, right

struct Options {
  Pair stride;
  Sides padding;
  Pair dilation;
  i64 groups;
};

// The algorithm by its name; backward-weight's direct form is its im2col.
Conv2dAlgorithm algorithm_of(const Call& call, const Conv2d& s, const std::string& name) {
  if (name == "auto") return Conv2dAlgorithm::kAuto;
  if (name == "direct") return Conv2dAlgorithm::kDirect;
  if (name == "im2col") return Conv2dAlgorithm::kIm2col;
  if (name != "winograd") {
    call.value_error("algorithm is '" + name + "', expected auto, direct, im2col or winograd");
  }
  call.require(winograd_serves(s), [&] {
    return "algorithm is 'winograd', which serves kernels of (3, 3) and (5, 5) with stride and dilation 1; kernel (" +
           std::to_string(s.kh) + ", " + std::to_string(s.kw) + "), stride (" + std::to_string(s.stride_h) + ", " +
           std::to_string(s.stride_w) + "), dilation (" + std::to_string(s.dilation_h) + ", " +
           std::to_string(s.dilation_w) + ")";
  });
  return Conv2dAlgorithm::kWinograd;
}

// Output cells along one axis, floor((M + P + P' - D (K - 1) - 1) / S) + 1.
i64 output_size(const Call& call, const char* axis, i64 size, i64 before, i64 after, i64 kernel, i64 stride,
                i64 dilation) {
  call.require(kernel >= 1 && stride >= 1 && dilation >= 1 && before >= 0 && after >= 0, [&] {
    return std::string(axis) + ": kernel " + std::to_string(kernel) + ", stride " + std::to_string(stride) +
           ", dilation " + std::to_string(dilation) + ", padding (" + std::to_string(before) + ", " +
           std::to_string(after) + "), expected kernel, stride, dilation >= 1 and padding >= 0";
  });
  const i64 span = dilation * (kernel - 1) + 1, padded = size + before + after;
  call.require(span <= padded, [&] {
    return std::string(axis) + ": the kernel spans " + std::to_string(span) + " of a padded input of " +
           std::to_string(padded);
  });
  return (padded - span) / stride + 1;
}

Conv2d shape_of_call(const Call& call, const py::array& x, const char* x_name, const py::array& w, const char* w_name,
                     const Options& o) {
  call.check_rank(x, x_name, 4);
  call.check_rank(w, w_name, 4);
  Conv2d s{};
  s.n = x.shape(0), s.ic = x.shape(1), s.ih = x.shape(2), s.iw = x.shape(3);
  s.oc = w.shape(0), s.kh = w.shape(2), s.kw = w.shape(3);
  s.groups = o.groups;
  call.require(o.groups >= 1 && s.ic >= 1 && s.oc >= 1 && s.ic % o.groups == 0 && s.oc % o.groups == 0, [&] {
    return "groups is " + std::to_string(o.groups) + ", expected a divisor of " + std::to_string(s.ic) + " and " +
           std::to_string(s.oc) + " channels";
  });
  call.require(w.shape(1) == s.ic / s.groups, [&] {
    return std::string(w_name) + " has shape " + shape_text(jadro::shape_of(w)) + ", expected " +
           std::to_string(s.ic / s.groups) + " channels: " + x_name + " has " + std::to_string(s.ic) +
           " and groups is " + std::to_string(s.groups);
  });
  s.stride_h = o.stride[0], s.stride_w = o.stride[1];
  s.dilation_h = o.dilation[0], s.dilation_w = o.dilation[1];
  s.pad_top = o.padding[0], s.pad_bottom = o.padding[1], s.pad_left = o.padding[2], s.pad_right = o.padding[3];
  s.oh = output_size(call, "height", s.ih, s.pad_top, s.pad_bottom, s.kh, s.stride_h, s.dilation_h);
  s.ow = output_size(call, "width", s.iw, s.pad_left, s.pad_right, s.kw, s.stride_w, s.dilation_w);
  return s;
}

std::vector<i64> x_shape(const Conv2d& s) { return {s.n, s.ic, s.ih, s.iw}; }
std::vector<i64> w_shape(const Conv2d& s) { return {s.oc, s.ic / s.groups, s.kh, s.kw}; }
std::vector<i64> y_shape(const Conv2d& s) { return {s.n, s.oc, s.oh, s.ow}; }

void forward(const py::array& x, const py::array& w, const std::optional<py::array>& b, py::array& y, Pair stride,
             Sides padding, Pair dilation, i64 groups, const std::string& algorithm, bool relu,
             const std::optional<py::array>& scale, const std::optional<py::array>& add) {
  Call call("conv2d_forward");
  call.set_dtype(x, "x");
  const Conv2d s = shape_of_call(call, x, "x", w, "w", {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, s, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* px = call.in<T>(x, "x", x_shape(s));
    const T* pw = call.in<T>(w, "w", w_shape(s));
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, "b", {s.oc}), call.in<T>(scale, "scale", {s.oc}),
                                     call.in<T>(add, "add", y_shape(s)), relu};
    T* py_ = call.out<T>(y, "y", y_shape(s));
    py::gil_scoped_release unlocked;
    conv2d_forward(s, px, pw, py_, epilogue, chosen);
  });
}

void backward_data(const py::array& dy, const py::array& w, py::array& dx, Pair stride, Sides padding, Pair dilation,
                   i64 groups, const std::string& algorithm) {
  Call call("conv2d_backward_data");
  call.set_dtype(dy, "dy");
  const Conv2d s = shape_of_call(call, dx, "dx", w, "w", {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, s, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* pdy = call.in<T>(dy, "dy", y_shape(s));
    const T* pw = call.in<T>(w, "w", w_shape(s));
    T* pdx = call.out<T>(dx, "dx", x_shape(s));
    py::gil_scoped_release unlocked;
    conv2d_backward_data(s, pdy, pw, pdx, chosen);
  });
}

void backward_weight(const py::array& dy, const py::array& x, py::array& dw, std::optional<py::array>& db, Pair stride,
                     Sides padding, Pair dilation, i64 groups, const std::string& algorithm) {
  Call call("conv2d_backward_weight");
  call.set_dtype(dy, "dy");
  const Conv2d s = shape_of_call(call, x, "x", dw, "dw", {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, s, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* pdy = call.in<T>(dy, "dy", y_shape(s));
    const T* px = call.in<T>(x, "x", x_shape(s));
    T* pdw = call.out<T>(dw, "dw", w_shape(s));
    T* pdb = call.out<T>(db, "db", {s.oc});
    py::gil_scoped_release unlocked;
    conv2d_backward_weight(s, pdy, px, pdw, pdb, chosen);
  });
}

}  // namespace

void bind_conv2d(py::module_& m) {
  const auto stride = py::arg("stride");
  const auto padding = py::arg("padding");
  const auto dilation = py::arg("dilation");
  const auto groups = py::arg("groups");
  const auto algorithm = py::arg("algorithm") = "auto";
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, py::arg("relu") = false, py::arg("scale") = py::none(), py::arg("add") = py::none());
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm);
}

}  // namespace jadro
