#include "ops/conv2d.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

using Sizes = std::vector<i64>;  // one an axis: of depth, height and width, or of height and width

struct Options {
  const Sizes& stride;
  const Sizes& padding;  // (before, after) of each axis
  const Sizes& dilation;
  i64 groups;
  const std::string& padding_mode;
};

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
    return "algorithm is 'winograd', which serves images with kernels of (3, 3) and (5, 5), stride and dilation 1; "
           "kernel " +
           axes_text(s, axes, &Conv2dAxis::kernel) + ", stride " + axes_text(s, axes, &Conv2dAxis::stride) +
           ", dilation " + axes_text(s, axes, &Conv2dAxis::dilation);
  });
  return Conv2dAlgorithm::kWinograd;
}

PaddingMode padding_mode_of(const Call& call, const std::string& name) {
  if (name == "zeros") return PaddingMode::kZeros;
  if (name == "reflect") return PaddingMode::kReflect;
  if (name == "replicate") return PaddingMode::kReplicate;
  if (name != "circular") {
    call.value_error("padding_mode is '" + name + "', expected zeros, reflect, replicate or circular");
  }
  return PaddingMode::kCircular;
}

void check_padding(const Call& call, const char* name, const Conv2dAxis& a, PaddingMode mode) {
  if (mode == PaddingMode::kZeros) return;
  const i64 most = mode == PaddingMode::kReflect    ? a.in - 1
                   : mode == PaddingMode::kCircular ? a.in
                   : a.in > 0                       ? a.before + a.after
                                                    : 0;
  call.require(a.before >= 0 && a.after >= 0 && a.before <= most && a.after <= most, [&] {
    return std::string(name) + ": padding (" + std::to_string(a.before) + ", " + std::to_string(a.after) +
           ") of a size of " + std::to_string(a.in) + ", expected 0 to " + std::to_string(most) +
           " in this padding_mode";
  });
}

// out = floor((M + P + P' - D (K - 1) - 1) / S) + 1.
void set_output(const Call& call, const char* name, Conv2dAxis& a) {
  constexpr i64 kLargest = (i64{1} << 31) - 1;
  const auto within = [](i64 x, i64 least) { return x >= least && x <= kLargest; };
  call.require(within(a.kernel, 1) && within(a.stride, 1) && within(a.dilation, 1) && within(a.before, -kLargest) &&
                   within(a.after, -kLargest),
               [&] {
                 return std::string(name) + ": kernel " + std::to_string(a.kernel) + ", stride " +
                        std::to_string(a.stride) + ", dilation " + std::to_string(a.dilation) + ", padding (" +
                        std::to_string(a.before) + ", " + std::to_string(a.after) +
                        "), expected kernel, stride, dilation >= 1, and none of them beyond " +
                        std::to_string(kLargest);
               });
  const i64 span = a.dilation * (a.kernel - 1) + 1, padded = a.in + a.before + a.after;
  call.require(span <= padded, [&] {
    return std::string(name) + ": the kernel spans " + std::to_string(span) + " of a padded input of " +
           std::to_string(padded);
  });
  a.out = (padded - span) / a.stride + 1;
}

void set_channels(const Call& call, const py::array& x, const char* x_name, const py::array& w, const char* w_name,
                  Conv2d& s) {
  s.n = x.shape(0), s.ic = x.shape(1), s.oc = w.shape(0);
  call.require(s.groups >= 1 && s.ic >= 1 && s.oc >= 1 && s.ic % s.groups == 0 && s.oc % s.groups == 0, [&] {
    return "groups is " + std::to_string(s.groups) + ", expected a divisor of " + std::to_string(s.ic) + " and " +
           std::to_string(s.oc) + " channels";
  });
  call.require(w.shape(1) == s.ic / s.groups, [&] {
    return std::string(w_name) + " has shape " + shape_text(jadro::shape_of(w)) + ", expected " +
           std::to_string(s.ic / s.groups) + " channels: " + x_name + " has " + std::to_string(s.ic) +
           " and groups is " + std::to_string(s.groups);
  });
}

// The problem, and its arrays' shapes: of images or of volumes.
struct Problem {
  i64 axes;
  Conv2d shape{};

  Problem(const Call& call, const py::array& x, const char* x_name, const py::array& w, const char* w_name,
          const Options& o)
      : axes(x.ndim() - 2) {
    if (axes != 3) call.check_rank(x, x_name, 4);
    call.check_rank(w, w_name, axes + 2);
    const std::size_t count = static_cast<std::size_t>(axes);
    if (o.stride.size() != count || o.dilation.size() != count || o.padding.size() != 2 * count) {
      call.type_error("stride, padding and dilation have " + std::to_string(o.stride.size()) + ", " +
                      std::to_string(o.padding.size()) + " and " + std::to_string(o.dilation.size()) +
                      " entries, expected " + std::to_string(axes) + ", " + std::to_string(2 * axes) + " and " +
                      std::to_string(axes));
    }
    shape.groups = o.groups;
    set_channels(call, x, x_name, w, w_name, shape);
    shape.padding_mode = padding_mode_of(call, o.padding_mode);
    shape.d = {1, 1, 1, 1, 0, 0, 1};
    static constexpr const char* kNames[] = {"depth", "height", "width"};
    for (i64 i = 0; i < axes; ++i) {
      Conv2dAxis& a = i + 3 - axes == 0 ? shape.d : i + 3 - axes == 1 ? shape.h : shape.w;
      const char* name = kNames[i + 3 - axes];
      a = {x.shape(i + 2), 0, w.shape(i + 2), o.stride[i], o.padding[2 * i], o.padding[2 * i + 1], o.dilation[i]};
      set_output(call, name, a);
      check_padding(call, name, a, shape.padding_mode);
    }
  }
  Sizes x_shape() const { return with_space(shape.n, shape.ic, &Conv2dAxis::in); }
  Sizes w_shape() const { return with_space(shape.oc, shape.ic / shape.groups, &Conv2dAxis::kernel); }
  Sizes y_shape() const { return with_space(shape.n, shape.oc, &Conv2dAxis::out); }

 private:
  Sizes with_space(i64 n, i64 c, i64 Conv2dAxis::* size) const {
    if (axes == 2) return {n, c, shape.h.*size, shape.w.*size};
    return {n, c, shape.d.*size, shape.h.*size, shape.w.*size};
  }
};

void forward(const py::array& x, const py::array& w, const std::optional<py::array>& b, py::array& y,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups, const std::string& algorithm,
             const std::string& padding_mode, bool relu, const std::optional<py::array>& scale,
             const std::optional<py::array>& add) {
  Call call("conv2d_forward");
  call.set_dtype(x, "x");
  const Problem p(call, x, "x", w, "w", {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, p.shape, p.axes, algorithm);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* px = call.in<T>(x, "x", p.x_shape());
    const T* pw = call.in<T>(w, "w", p.w_shape());
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, "b", {p.shape.oc}), call.in<T>(scale, "scale", {p.shape.oc}),
                                     call.in<T>(add, "add", p.y_shape()), relu};
    T* py_ = call.out<T>(y, "y", p.y_shape());
    py::gil_scoped_release unlocked;
    conv2d_forward(p.shape, px, pw, py_, epilogue, chosen);
  });
}

void backward_data(const py::array& dy, const py::array& w, py::array& dx, const Sizes& stride, const Sizes& padding,
                   const Sizes& dilation, i64 groups, const std::string& algorithm, const std::string& padding_mode,
                   const std::optional<py::array>& b, bool relu, const std::optional<py::array>& scale,
                   const std::optional<py::array>& add) {
  Call call("conv2d_backward_data");
  call.set_dtype(dy, "dy");
  const Problem p(call, dx, "dx", w, "w", {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, p.shape, p.axes, algorithm);
  call.require(p.shape.padding_mode == PaddingMode::kZeros || !(b || relu || scale || add), [&] {
    return "padding_mode is '" + padding_mode + "', expected 'zeros' where b, relu, scale or add is given";
  });
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* pdy = call.in<T>(dy, "dy", p.y_shape());
    const T* pw = call.in<T>(w, "w", p.w_shape());
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, "b", {p.shape.ic}), call.in<T>(scale, "scale", {p.shape.ic}),
                                     call.in<T>(add, "add", p.x_shape()), relu};
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
  const Problem p(call, x, "x", dw, "dw", {stride, padding, dilation, groups, padding_mode});
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
  const auto bias = py::arg("b") = py::none(), scale = py::arg("scale") = py::none(), add = py::arg("add") = py::none();
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, padding_mode, relu, scale, add);
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm, padding_mode, bias, relu, scale, add);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm, padding_mode);
}

}  // namespace jadro
