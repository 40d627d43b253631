#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/gemm.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

void gemm_call(const py::object& a_given, const py::object& b_given, const py::object& out_given,
               const Given& bias_given, bool trans_a, bool trans_b, bool accumulate, std::uintptr_t stream) {
  Call call("gemm");
  const Array a = call.read(a_given, "a"), b = call.read(b_given, "b"), out = call.read(out_given, "out");
  const Maybe bias = call.read(bias_given, "bias");
  call.set_any_dtype(a);
  call.check_rank(a, 2);
  call.check_rank(b, 2);
  const i64 m = a.shape[trans_a], k = a.shape[!trans_a], n = b.shape[!trans_b];
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    Gemm<T> g{
        m,       n, k,       nullptr,   trans_a ? 1 : k, trans_a ? m : 1, nullptr, trans_b ? 1 : n, trans_b ? k : 1,
        nullptr, n, nullptr, accumulate};
    g.a = call.in<T>(a, a.shape);
    g.b = call.in<T>(b, trans_b ? std::vector<i64>{n, k} : std::vector<i64>{k, n});
    g.bias = call.in<T>(bias, {n});
    g.c = call.out<T>(out, {m, n});
    call.run(gemm_scratch<T>(m, n, k), [&](void* scratch) { return gemm(g, scratch, stream_of(stream)); });
  });
}

}  // namespace

void bind_gemm(py::module_& m) {
  m.def("gemm", &gemm_call, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("bias") = py::none(),
        py::arg("trans_a") = false, py::arg("trans_b") = false, py::arg("accumulate") = false, py::kw_only(),
        py::arg("stream") = 0);
  m.def("allow_tf32", &allow_tf32, py::arg("allowed"));
}

}  // namespace jadro::cuda
