#include "ops/dropout.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

constexpr i64 kLastNumber = i64{1} << 62;

void check_offset(const Call& call, i64 offset, i64 n) {
  if (offset >= 0 && offset <= kLastNumber - n) return;
  call.value_error("offset is " + std::to_string(offset) + ", expected 0 to 2^62 less the size " + std::to_string(n));
}

void uniform(py::array& out, u64 seed, i64 offset) {
  Call call("random_uniform");
  call.set_dtype(out, "out");
  const i64 n = out.size();
  check_offset(call, offset, n);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    T* values = call.out<T>(out, "out", shape_of(out));
    py::gil_scoped_release unlocked;
    random_uniform(values, n, seed, static_cast<u64>(offset));
  });
}

void dropout_call(const py::array& x, py::array& y, double p, u64 seed, i64 offset) {
  Call call("dropout");
  call.set_dtype(x, "x");
  const i64 n = x.size();
  if (!(p >= 0 && p <= 1)) call.value_error("p is " + std::to_string(p) + ", expected 0 to 1");
  check_offset(call, offset, n);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* in = call.in<T>(x, "x", shape_of(x));
    T* out = call.out<T>(y, "y", shape_of(x));
    py::gil_scoped_release unlocked;
    dropout(in, out, n, p, seed, static_cast<u64>(offset));
  });
}

}  // namespace

void bind_dropout(py::module_& m) {
  m.def("random_uniform", &uniform, py::arg("out"), py::arg("seed"), py::arg("offset"));
  m.def("dropout", &dropout_call, py::arg("x"), py::arg("y"), py::arg("p"), py::arg("seed"), py::arg("offset"));
}

}  // namespace jadro
