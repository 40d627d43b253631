#include <array>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/conv2d.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

using Pair = std::array<i64, 2>;
using Sides = std::array<i64, 4>;  // top, bottom, left, right
using Shape = std::vector<i64>;

struct Options {
  Pair stride;
  Sides padding;
  Pair dilation;
  i64 groups;
};

Conv2dAlgorithm algorithm_of(const Call& call, const std::string& name) {
  if (name == "auto") return Conv2dAlgorithm::kAuto;
  if (name == "direct") return Conv2dAlgorithm::kDirect;
  if (name == "im2col") return Conv2dAlgorithm::kIm2col;
  if (name == "winograd") throw std::runtime_error(call.name() + ": algorithm 'winograd' is not available on cuda");
  call.value_error("algorithm is '" + name + "', expected auto, direct, im2col or winograd");
}

// Output cells along one axis, floor((M + P + P' - D (K - 1) - 1) / S) + 1.
i64 output_size(const Call& call, const char* axis, i64 size, i64 before, i64 after, i64 kernel, i64 stride,
                i64 dilation) {
  constexpr i64 kMost = INT32_MAX;
  call.require(kernel >= 1 && stride >= 1 && dilation >= 1 && before >= 0 && after >= 0 && kernel <= kMost &&
                   stride <= kMost && dilation <= kMost && before <= kMost && after <= kMost,
               [&] {
                 return std::string(axis) + ": kernel " + std::to_string(kernel) + ", stride " +
                        std::to_string(stride) + ", dilation " + std::to_string(dilation) + ", padding (" +
                        std::to_string(before) + ", " + std::to_string(after) +
                        "), expected kernel, stride, dilation >= 1 and padding >= 0, below 2^31";
               });
  const i64 span = dilation * (kernel - 1) + 1, padded = size + before + after;
  call.require(span <= padded, [&] {
    return std::string(axis) + ": the kernel spans " + std::to_string(span) + " of a padded input of " +
           std::to_string(padded);
  });
  return (padded - span) / stride + 1;
}

Conv2d shape_of_call(const Call& call, const Array& x, const Array& w, const Options& o) {
  call.check_rank(x, 4);
  call.check_rank(w, 4);
  Conv2d s{};
  s.n = x.shape[0], s.ic = x.shape[1], s.ih = x.shape[2], s.iw = x.shape[3];
  s.oc = w.shape[0], s.kh = w.shape[2], s.kw = w.shape[3];
  s.groups = o.groups;
  call.require(o.groups >= 1 && s.ic >= 1 && s.oc >= 1 && s.ic % o.groups == 0 && s.oc % o.groups == 0, [&] {
    return "groups is " + std::to_string(o.groups) + ", expected a divisor of " + std::to_string(s.ic) + " and " +
           std::to_string(s.oc) + " channels";
  });
  call.require(w.shape[1] == s.ic / s.groups, [&] {
    return w.argument + " has shape " + shape_text(w.shape) + ", expected " + std::to_string(s.ic / s.groups) +
           " channels: " + x.argument + " has " + std::to_string(s.ic) + " and groups is " + std::to_string(s.groups);
  });
  s.stride_h = o.stride[0], s.stride_w = o.stride[1];
  s.dilation_h = o.dilation[0], s.dilation_w = o.dilation[1];
  s.pad_top = o.padding[0], s.pad_bottom = o.padding[1], s.pad_left = o.padding[2], s.pad_right = o.padding[3];
  s.oh = output_size(call, "height", s.ih, s.pad_top, s.pad_bottom, s.kh, s.stride_h, s.dilation_h);
  s.ow = output_size(call, "width", s.iw, s.pad_left, s.pad_right, s.kw, s.stride_w, s.dilation_w);
  call.require(conv2d_fits(s), [&] {
    return x.argument + " has shape " + shape_text(x.shape) + ", expected less than 2^31 pixels and filter elements";
  });
  return s;
}

Shape x_shape(const Conv2d& s) { return {s.n, s.ic, s.ih, s.iw}; }
Shape w_shape(const Conv2d& s) { return {s.oc, s.ic / s.groups, s.kh, s.kw}; }
Shape y_shape(const Conv2d& s) { return {s.n, s.oc, s.oh, s.ow}; }

void forward(const py::object& x_given, const py::object& w_given, const Given& b_given, const py::object& y_given,
             Pair stride, Sides padding, Pair dilation, i64 groups, const std::string& algorithm, bool relu,
             const Given& scale_given, const Given& add_given, std::uintptr_t stream) {
  Call call("conv2d_forward");
  const Array x = call.read(x_given, "x"), w = call.read(w_given, "w"), y = call.read(y_given, "y");
  const Maybe b = call.read(b_given, "b"), scale = call.read(scale_given, "scale"), add = call.read(add_given, "add");
  call.set_dtype(x);
  const Conv2d s = shape_of_call(call, x, w, {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* image = call.in<T>(x, x_shape(s));
    const T* filters = call.in<T>(w, w_shape(s));
    const Conv2dEpilogue<T> epilogue{call.in<T>(b, {s.oc}), call.in<T>(scale, {s.oc}), call.in<T>(add, y_shape(s)),
                                     relu};
    T* out = call.out<T>(y, y_shape(s));
    call.run([&] { return conv2d_forward(s, image, filters, out, epilogue, chosen, stream_of(stream)); });
  });
}

void backward_data(const py::object& dy_given, const py::object& w_given, const py::object& dx_given, Pair stride,
                   Sides padding, Pair dilation, i64 groups, const std::string& algorithm, std::uintptr_t stream) {
  Call call("conv2d_backward_data");
  const Array dy = call.read(dy_given, "dy"), w = call.read(w_given, "w"), dx = call.read(dx_given, "dx");
  call.set_dtype(dy);
  const Conv2d s = shape_of_call(call, dx, w, {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, y_shape(s));
    const T* filters = call.in<T>(w, w_shape(s));
    T* out = call.out<T>(dx, x_shape(s));
    call.run([&] { return conv2d_backward_data(s, gradient, filters, out, chosen, stream_of(stream)); });
  });
}

void backward_weight(const py::object& dy_given, const py::object& x_given, const py::object& dw_given,
                     const Given& db_given, Pair stride, Sides padding, Pair dilation, i64 groups,
                     const std::string& algorithm, std::uintptr_t stream) {
  Call call("conv2d_backward_weight");
  const Array dy = call.read(dy_given, "dy"), x = call.read(x_given, "x"), dw = call.read(dw_given, "dw");
  const Maybe db = call.read(db_given, "db");
  call.set_dtype(dy);
  const Conv2d s = shape_of_call(call, x, dw, {stride, padding, dilation, groups});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, y_shape(s));
    const T* image = call.in<T>(x, x_shape(s));
    T* out = call.out<T>(dw, w_shape(s));
    T* bias = call.out<T>(db, {s.oc});
    call.run(conv2d_weight_scratch<T>(s, chosen), [&](void* scratch) {
      return conv2d_backward_weight(s, gradient, image, out, bias, chosen, scratch, stream_of(stream));
    });
  });
}

}  // namespace

void bind_conv2d(py::module_& m) {
  const auto stride = py::arg("stride"), padding = py::arg("padding"), dilation = py::arg("dilation");
  const auto groups = py::arg("groups");
  const py::arg_v algorithm = py::arg("algorithm") = "auto", on_stream = py::arg("stream") = 0;
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, py::arg("relu") = false, py::arg("scale") = py::none(), py::arg("add") = py::none(),
        py::kw_only(), on_stream);
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm, py::kw_only(), on_stream);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm, py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
