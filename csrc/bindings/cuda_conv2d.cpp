#include "bindings/conv2d_problem.h"
#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/rectifier.h"
#include "cuda/conv2d.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

Conv2dAlgorithm algorithm_of(const Call& call, const std::string& name) {
  if (name == "auto") return Conv2dAlgorithm::kAuto;
  if (name == "direct") return Conv2dAlgorithm::kDirect;
  if (name == "im2col") return Conv2dAlgorithm::kIm2col;
  if (name == "winograd") throw std::runtime_error(call.name() + ": algorithm 'winograd' is not available on cuda");
  call.value_error("algorithm is '" + name + "', expected auto, direct, im2col or winograd");
}

// The problem of x and w, which the kernels' 32-bit numbers must hold.
Conv2dProblem problem_of(const Call& call, const Array& x, const Array& w, const Conv2dOptions& options) {
  const Conv2dProblem p(call, x.shape, x.argument, w.shape, w.argument, options);
  call.require(conv2d_fits(p.shape), [&] {
    return x.argument + " has shape " + shape_text(x.shape) + " and " + w.argument + " " + shape_text(w.shape) +
           ", expected less than 2^31 pixels and filter elements, and axes of less than 2^28";
  });
  return p;
}

// What follows a result of `channels` channels, shaped as `result`.
struct Then {
  Maybe b, scale, add, slope;
  bool relu;
  Bound most;

  Then(const Call& call, const Given& b, bool relu, const Given& scale, const Given& add, const Given& slope,
       const Bound& most)
      : b(call.read(b, "b")),
        scale(call.read(scale, "scale")),
        add(call.read(add, "add")),
        slope(call.read(slope, "slope")),
        relu(relu),
        most(most) {}

  template <class T>
  Conv2dEpilogue<T> epilogue(Call& call, i64 channels, const Sizes& result) const {
    return {call.in<T>(b, {channels}),
            call.in<T>(scale, {channels}),
            call.in<T>(add, result),
            {relu, call.in<T>(slope, {channels}), bound_of<Sum<T>>(most)}};
  }
};

void forward(const py::object& x_given, const py::object& w_given, const Given& b, const py::object& y_given,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups, const std::string& algorithm,
             const std::string& padding_mode, bool relu, const Given& scale, const Given& add, const Given& slope,
             const Bound& most, std::uintptr_t stream) {
  Call call("conv2d_forward");
  const Array x = call.read(x_given, "x"), w = call.read(w_given, "w"), y = call.read(y_given, "y");
  const Then then(call, b, relu, scale, add, slope, most);
  call.set_any_dtype(x);
  const Conv2dProblem p = problem_of(call, x, w, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* image = call.in<T>(x, p.x_shape());
    const T* filters = call.in<T>(w, p.w_shape());
    const Conv2dEpilogue<T> epilogue = then.epilogue<T>(call, p.shape.oc, p.y_shape());
    T* out = call.out<T>(y, p.y_shape());
    call.run(conv2d_forward_scratch<T>(p.shape, chosen), [&](void* scratch) {
      return conv2d_forward(p.shape, image, filters, out, epilogue, chosen, scratch, stream_of(stream));
    });
  });
}

void backward_data(const py::object& dy_given, const py::object& w_given, const py::object& dx_given,
                   const Sizes& stride, const Sizes& padding, const Sizes& dilation, i64 groups,
                   const std::string& algorithm, const std::string& padding_mode, const Given& b, bool relu,
                   const Given& scale, const Given& add, const Given& slope, const Bound& most, std::uintptr_t stream) {
  Call call("conv2d_backward_data");
  const Array dy = call.read(dy_given, "dy"), w = call.read(w_given, "w"), dx = call.read(dx_given, "dx");
  const Then then(call, b, relu, scale, add, slope, most);
  call.set_any_dtype(dy);
  const Conv2dProblem p = problem_of(call, dx, w, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.require(p.shape.padding_mode == PaddingMode::kZeros || !(b || relu || scale || add), [&] {
    return "padding_mode is '" + padding_mode + "', expected 'zeros' where b, relu, scale or add is given";
  });
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, p.y_shape());
    const T* filters = call.in<T>(w, p.w_shape());
    const Conv2dEpilogue<T> epilogue = then.epilogue<T>(call, p.shape.ic, p.x_shape());
    T* out = call.out<T>(dx, p.x_shape());
    call.run(conv2d_data_scratch<T>(p.shape, chosen), [&](void* scratch) {
      return conv2d_backward_data(p.shape, gradient, filters, out, epilogue, chosen, scratch, stream_of(stream));
    });
  });
}

void backward_weight(const py::object& dy_given, const py::object& x_given, const py::object& dw_given,
                     const Given& db_given, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                     i64 groups, const std::string& algorithm, const std::string& padding_mode, std::uintptr_t stream) {
  Call call("conv2d_backward_weight");
  const Array dy = call.read(dy_given, "dy"), x = call.read(x_given, "x"), dw = call.read(dw_given, "dw");
  const Maybe db = call.read(db_given, "db");
  call.set_any_dtype(dy);
  const Conv2dProblem p = problem_of(call, x, dw, {stride, padding, dilation, groups, padding_mode});
  const Conv2dAlgorithm chosen = algorithm_of(call, algorithm);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, p.y_shape());
    const T* image = call.in<T>(x, p.x_shape());
    T* out = call.out<T>(dw, p.w_shape());
    T* bias = call.out<T>(db, {p.shape.oc});
    call.run(conv2d_weight_scratch<T>(p.shape, chosen), [&](void* scratch) {
      return conv2d_backward_weight(p.shape, gradient, image, out, bias, chosen, scratch, stream_of(stream));
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
  const py::arg_v slope = py::arg("slope") = py::none(), most = py::arg("most") = py::none();
  const py::arg_v on_stream = py::arg("stream") = 0;
  m.def("conv2d_forward", &forward, py::arg("x"), py::arg("w"), py::arg("b"), py::arg("y"), stride, padding, dilation,
        groups, algorithm, padding_mode, relu, scale, add, slope, most, py::kw_only(), on_stream);
  m.def("conv2d_backward_data", &backward_data, py::arg("dy"), py::arg("w"), py::arg("dx"), stride, padding, dilation,
        groups, algorithm, padding_mode, bias, relu, scale, add, slope, most, py::kw_only(), on_stream);
  m.def("conv2d_backward_weight", &backward_weight, py::arg("dy"), py::arg("x"), py::arg("dw"), py::arg("db"), stride,
        padding, dilation, groups, algorithm, padding_mode, py::kw_only(), on_stream);
}

}  // namespace jadro::cuda
