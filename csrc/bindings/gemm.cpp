#include "ops/gemm.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

void gemm_call(const py::array& a, const py::array& b, py::array& out, const std::optional<py::array>& bias,
               bool trans_a, bool trans_b, bool accumulate) {
  Call call("gemm");
  call.set_dtype(a, "a");
  call.check_rank(a, "a", 2);
  call.check_rank(b, "b", 2);
  const i64 m = a.shape(trans_a), k = a.shape(!trans_a), n = b.shape(!trans_b);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    Gemm<T> g{
        m,       n, k,       nullptr,   trans_a ? 1 : k, trans_a ? m : 1, nullptr, trans_b ? 1 : n, trans_b ? k : 1,
        nullptr, n, nullptr, accumulate};
    g.a = call.in<T>(a, "a", trans_a ? std::vector<i64>{k, m} : std::vector<i64>{m, k});
    g.b = call.in<T>(b, "b", trans_b ? std::vector<i64>{n, k} : std::vector<i64>{k, n});
    g.bias = call.in<T>(bias, "bias", {n});
    g.c = call.out<T>(out, "out", {m, n});
    py::gil_scoped_release unlocked;
    gemm(g);
  });
}

}  // namespace

void bind_gemm(py::module_& m) {
  m.def("gemm", &gemm_call, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("bias") = py::none(),
        py::arg("trans_a") = false, py::arg("trans_b") = false, py::arg("accumulate") = false);
}

}  // namespace jadro
