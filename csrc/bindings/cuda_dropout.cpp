#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/dropout.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

constexpr i64 kLastNumber = i64{1} << 62;

void check_offset(const Call& call, i64 offset, i64 n) {
  call.require(offset >= 0 && offset <= kLastNumber - n, [&] {
    return "offset is " + std::to_string(offset) + ", expected 0 to 2^62 less the size " + std::to_string(n);
  });
}

void uniform(const py::object& out_given, u64 seed, i64 offset, std::uintptr_t stream) {
  Call call("random_uniform");
  const Array out = call.read(out_given, "out");
  call.set_dtype(out);
  check_offset(call, offset, out.size());
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    T* values = call.out<T>(out, out.shape);
    call.run([&] { return random_uniform(values, out.size(), seed, static_cast<u64>(offset), stream_of(stream)); });
  });
}

void dropout_call(const py::object& x_given, const py::object& y_given, double p, u64 seed, i64 offset,
                  std::uintptr_t stream) {
  Call call("dropout");
  const Array x = call.read(x_given, "x"), y = call.read(y_given, "y");
  call.set_any_dtype(x);
  call.require(p >= 0 && p <= 1, [&] { return "p is " + std::to_string(p) + ", expected 0 to 1"; });
  check_offset(call, offset, x.size());
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, x.shape);
    T* out = call.out<T>(y, x.shape);
    call.run([&] { return dropout(in, out, x.size(), p, seed, static_cast<u64>(offset), stream_of(stream)); });
  });
}

}  // namespace

void bind_dropout(py::module_& m) {
  m.def("random_uniform", &uniform, py::arg("out"), py::arg("seed"), py::arg("offset"), py::kw_only(),
        py::arg("stream") = 0);
  m.def("dropout", &dropout_call, py::arg("x"), py::arg("y"), py::arg("p"), py::arg("seed"), py::arg("offset"),
        py::kw_only(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
