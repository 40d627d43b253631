#include "ops/pool2d.h"

#include "bindings/module.h"
#include "bindings/pool2d_problem.h"

namespace jadro {
namespace {

void run_forward(Call& call, const Pool2d& p, const py::array& x, py::array& y, std::optional<py::array>& indices,
                 const Sizes& out) {
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, "x", shape_of(x));
    T* values = call.out<T>(y, "y", out);
    std::int32_t* places = call.out<std::int32_t>(indices, "indices", out);
    py::gil_scoped_release unlocked;
    max_pool2d_forward(p, in, values, places);
  });
}

void forward(const py::array& x, py::array& y, std::optional<py::array>& indices, const Sizes& kernel,
             const Sizes& stride, const Sizes& padding, const Sizes& dilation) {
  Call call("max_pool2d_forward");
  call.set_dtype(x, "x");
  const Sizes shape = shape_of(x);
  check_rank(call, "x", shape);
  const std::size_t axes = shape.size() - 2;
  check_windows(call, axes, kernel, stride, padding, dilation);
  volume(call, "x", shape);
  Sizes out = {shape[0], shape[1]};
  for (std::size_t a = 0; a < axes; ++a) {
    const i64 padded = padding[2 * a] + padding[2 * a + 1];
    out.push_back(output_size(call, axis_name(a, axes), shape[a + 2], padded, kernel[a], stride[a], dilation[a]));
  }
  const std::size_t h = axes - 2, w = h + 1;
  Pool2d p{shape[0] * shape[1], shape[h + 2], shape[w + 2],   out[h + 2],     out[w + 2],  kernel[h],  kernel[w],
           stride[h],           stride[w],    padding[2 * h], padding[2 * w], dilation[h], dilation[w]};
  if (axes == 3) {
    p.id = shape[2], p.od = out[2], p.kd = kernel[0];
    p.stride_d = stride[0], p.pad_front = padding[0], p.dilation_d = dilation[0];
  }
  run_forward(call, p, x, y, indices, out);
}

void adaptive_forward(const py::array& x, py::array& y, std::optional<py::array>& indices) {
  Call call("adaptive_max_pool2d_forward");
  call.set_dtype(x, "x");
  const Sizes shape = shape_of(x), given = shape_of(y);
  check_adaptive(call, shape, given);
  const std::size_t h = shape.size() - 2, w = h + 1;
  Pool2d p{shape[0] * shape[1], shape[h], shape[w], given[h], given[w], 1, 1, 1, 1, 0, 0, 1, 1};
  if (h == 3) p.id = shape[2], p.od = given[2];
  p.adaptive = true;
  run_forward(call, p, x, y, indices, given);
}

// Of values[N,C,out...], which stand at indices of planes[N,C,in...]: run(planes, outputs, size, ...) unless an index
// lies outside.
template <class Run>
void scatter(Call& call, const py::array& values, const char* name, const py::array& indices, const py::array& planes,
             const char* target, Run run) {
  call.set_dtype(values, name);
  const Sizes out = shape_of(values);
  Sizes in = shape_of(planes);
  check_rank(call, name, out);
  call.require(in.size() == out.size(), [&] {
    return std::string(target) + " has shape " + shape_text(in) + ", expected " + std::to_string(out.size()) +
           " dimensions";
  });
  in[0] = out[0], in[1] = out[1];
  const i64 size = volume(call, target, in), outputs = volume(call, name, out);
  bool inside = true;
  with_dtype(call, [&](auto zero) {
    inside = run(zero, call.in<std::int32_t>(indices, "indices", out), out, in, out[0] * out[1], outputs, size);
  });
  call.require(inside, [&] {
    return std::string("indices point outside the planes of ") + target + ", expected -1 to " +
           std::to_string(size - 1);
  });
}

void backward(const py::array& dy, const py::array& indices, py::array& dx) {
  Call call("max_pool2d_backward");
  scatter(call, dy, "dy", indices, dx, "dx",
          [&](auto zero, const std::int32_t* places, const Sizes& out, const Sizes& in, i64 n, i64 outputs, i64 size) {
            using T = decltype(zero);
            const T* from = call.in<T>(dy, "dy", out);
            T* to = call.out<T>(dx, "dx", in);
            py::gil_scoped_release unlocked;
            return max_pool2d_backward(n, outputs, size, from, places, to);
          });
}

void unpool_forward(const py::array& x, const py::array& indices, py::array& y) {
  Call call("max_unpool2d_forward");
  scatter(call, x, "x", indices, y, "y",
          [&](auto zero, const std::int32_t* places, const Sizes& out, const Sizes& in, i64 n, i64 outputs, i64 size) {
            using T = decltype(zero);
            const T* from = call.in<T>(x, "x", out);
            T* to = call.out<T>(y, "y", in);
            py::gil_scoped_release unlocked;
            return max_unpool2d_forward(n, outputs, size, from, places, to);
          });
}

void unpool_backward(const py::array& dy, const py::array& indices, py::array& dx) {
  Call call("max_unpool2d_backward");
  scatter(call, dx, "dx", indices, dy, "dy",
          [&](auto zero, const std::int32_t* places, const Sizes& out, const Sizes& in, i64 n, i64 outputs, i64 size) {
            using T = decltype(zero);
            const T* from = call.in<T>(dy, "dy", in);
            T* to = call.out<T>(dx, "dx", out);
            py::gil_scoped_release unlocked;
            return max_unpool2d_backward(n, outputs, size, from, places, to);
          });
}

}  // namespace

void bind_pool2d(py::module_& m) {
  m.def("max_pool2d_forward", &forward, py::arg("x"), py::arg("y"), py::arg("indices"), py::arg("kernel"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"));
  m.def("adaptive_max_pool2d_forward", &adaptive_forward, py::arg("x"), py::arg("y"), py::arg("indices"));
  m.def("max_pool2d_backward", &backward, py::arg("dy"), py::arg("indices"), py::arg("dx"));
  m.def("max_unpool2d_forward", &unpool_forward, py::arg("x"), py::arg("indices"), py::arg("y"));
  m.def("max_unpool2d_backward", &unpool_backward, py::arg("dy"), py::arg("indices"), py::arg("dx"));
}

}  // namespace jadro
