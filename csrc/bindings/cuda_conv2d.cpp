#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/conv2d.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

using Sizes = std::vector<i64>;  // one an axis: of depth, height and width, or of height and width

struct Options {
  const Sizes& stride;
  const Sizes& padding;  // (before, after) of each axis
  const Sizes& dilation;
  i64 groups;
  const std::string& padding_mode;
};

Conv2dAlgorithm algorithm_of(const Call& call, const std::string& name) {
  if (name == "auto") return Conv2dAlgorithm::kAuto;
  if (name == "direct") return Conv2dAlgorithm::kDirect;
  if (name == "im2col") return Conv2dAlgorithm::kIm2col;
  if (name == "winograd") throw std::runtime_error(call.name() + ": algorithm 'winograd' is not available on cuda");
  call.value_error("algorithm is '" + name + "', expected auto, direct, im2col or winograd");
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

void set_channels(const Call& call, const Array& x, const Array& w, Conv2d& s) {
  s.n = x.shape[0], s.ic = x.shape[1], s.oc = w.shape[0];
  call.require(s.groups >= 1 && s.ic >= 1 && s.oc >= 1 && s.ic % s.groups == 0 && s.oc % s.groups == 0, [&] {
    return "groups is " + std::to_string(s.groups) + ", expected a divisor of " + std::to_string(s.ic) + " and " +
           std::to_string(s.oc) + " channels";
  });
  call.require(w.shape[1] == s.ic / s.groups, [&] {
    return w.argument + " has shape " + shape_text(w.shape) + ", expected " + std::to_string(s.ic / s.groups) +
           " channels: " + x.argument + " has " + std::to_string(s.ic) + " and groups is " + std::to_string(s.groups);
  });
}

// The problem, and its arrays' shapes: of images or of volumes.
struct Problem {
  i64 axes;
  Conv2d shape{};

  Problem(const Call& call, const Array& x, const Array& w, const Options& o)
      : axes(static_cast<i64>(x.shape.size()) - 2) {
    if (axes != 3) call.check_rank(x, 4);
    call.check_rank(w, static_cast<std::size_t>(axes + 2));
    const std::size_t count = static_cast<std::size_t>(axes);
    if (o.stride.size() != count || o.dilation.size() != count || o.padding.size() != 2 * count) {
      call.type_error("stride, padding and dilation have " + std::to_string(o.stride.size()) + ", " +
                      std::to_string(o.padding.size()) + " and " + std::to_string(o.dilation.size()) +
                      " entries, expected " + std::to_string(axes) + ", " + std::to_string(2 * axes) + " and " +
                      std::to_string(axes));
    }
    shape.groups = o.groups;
    set_channels(call, x, w, shape);
    shape.padding_mode = padding_mode_of(call, o.padding_mode);
    shape.d = {1, 1, 1, 1, 0, 0, 1};
    static constexpr const char* kNames[] = {"depth", "height", "width"};
    for (i64 i = 0; i < axes; ++i) {
      Conv2dAxis& a = i + 3 - axes == 0 ? shape.d : i + 3 - axes == 1 ? shape.h : shape.w;
      const char* name = kNames[i + 3 - axes];
      a = {x.shape[i + 2], 0, w.shape[i + 2], o.stride[i], o.padding[2 * i], o.padding[2 * i + 1], o.dilation[i]};
      set_output(call, name, a);
      check_padding(call, name, a, shape.padding_mode);
    }
    call.require(conv2d_fits(shape), [&] {
      return x.argument + " has shape " + shape_text(x.shape) + " and " + w.argument + " " + shape_text(w.shape) +
             ", expected less than 2^31 pixels and filter elements, and axes of less than 2^28";
    });
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

// What follows a result of `channels` channels, shaped as `result`.
struct Then {
  Maybe b, scale, add;
  bool relu;

  Then(const Call& call, const Given& b, bool relu, const Given& scale, const Given& add)
      : b(call.read(b, "b")), scale(call.read(scale, "scale")), add(call.read(add, "add")), relu(relu) {}

  template <class T>
  Conv2dEpilogue<T> epilogue(Call& call, i64 channels, const Sizes& result) const {
    return {call.in<T>(b, {channels}), call.in<T>(scale, {channels}), call.in<T>(add, result), relu};
  }
};

void forward(const py::object& x_given, const py::object& w_given, const Given& b, const py::object& y_given,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups, const std::string& algorithm,
             const std::string& padding_mode, bool relu, const Given& scale, const Given& add, std::uintptr_t stream) {
  Call call("conv2d_forward");
  const Array x = call.read(x_given, "x"), w = call.read(w_given, "w"), y = call.read(y_given, "y");
  const Then then(call, b, relu, scale, add);
  call.set_dtype(x);
  const Problem p(call, x, w, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* image = call.in<T>(x, p.x_shape());
    const T* filters = call.in<T>(w, p.w_shape());
    const Conv2dEpilogue<T> epilogue = then.epilogue<T>(call, p.shape.oc, p.y_shape());
    T* out = call.out<T>(y, p.y_shape());
    call.run([&] { return conv2d_forward(p.shape, image, filters, out, epilogue, chosen, stream_of(stream)); });
  });
}

void backward_data(const py::object& dy_given, const py::object& w_given, const py::object& dx_given,
                   const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups,
                   const std::string& algorithm, const std::string& padding_mode, const Given& b, bool relu,
                   const Given& scale, const Given& add, std::uintptr_t stream) {
  Call call("conv2d_backward_data");
  const Array dy = call.read(dy_given, "dy"), w = call.read(w_given, "w"), dx = call.read(dx_given, "dx");
  const Then then(call, b, relu, scale, add);
  call.set_dtype(dy);
  const Problem p(call, dx, w, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.require(p.shape.padding_mode == PaddingMode::kZeros || !(b || relu || scale || add), [&] {
    return "padding_mode is '" + padding_mode + "', expected 'zeros' where b, relu, scale or add is given";
  });
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, p.y_shape());
    const T* filters = call.in<T>(w, p.w_shape());
    const Conv2dEpilogue<T> epilogue = then.epilogue<T>(call, p.shape.ic, p.x_shape());
    T* out = call.out<T>(dx, p.x_shape());
    call.run(conv2d_data_scratch(p.shape) * static_cast<i64>(sizeof(T)), [&](void* scratch) {
      return conv2d_backward_data(p.shape, gradient, filters, out, epilogue, chosen, static_cast<T*>(scratch),
                                  stream_of(stream));
    });
  });
}

void backward_weight(const py::object& dy_given, const py::object& x_given, const py::object& dw_given,
                     const Given& db_given, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                     i64 groups, const std::string& algorithm, const std::string& padding_mode, std::uintptr_t stream) {
  Call call("conv2d_backward_weight");
  const Array dy = call.read(dy_given, "dy"), x = call.read(x_given, "x"), dw = call.read(dw_given, "dw");
  const Maybe db = call.read(db_given, "db");
  call.set_dtype(dy);
  const Problem p(call, x, dw, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, p.y_shape());
    const T* image = call.in<T>(x, p.x_shape());
    T* out = call.out<T>(dw, p.w_shape());
    T* bias = call.out<T>(db, {p.shape.oc});
    call.run(conv2d_weight_scratch(p.shape, chosen) * static_cast<i64>(sizeof(T)), [&](void* scratch) {
      return conv2d_backward_weight(p.shape, gradient, image, out, bias, chosen, static_cast<T*>(scratch),
                                    stream_of(stream));
    });
  });
}

}  // namespace

void bind_conv2d(py::module_& m) {
  const auto stride = py::arg("stride"), padding = py::arg("padding"), dilation = py::arg("dilation");
  const auto groups = py::arg("groups");
  const py::arg_v algorithm = py::arg("algorithm") = "auto", padding_mode = py::arg("padding_mode") = "zeros";
  const py::arg_v relu = py::arg("relu") = false, bias = py::arg("b") = py::none();
  const py::arg_v scale = py::arg("scale") = py::none(), add = py::arg("add") = py::none();
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, padding_mode, relu, scale, add, py::kw_only(), on_stream);
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm, padding_mode, bias, relu, scale, add, py::kw_only(), on_stream);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm, padding_mode, py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
