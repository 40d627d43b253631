#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "cuda/embedding.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

void forward(const py::object& weight_given, const py::object& ids_given, const py::object& y_given,
             std::uintptr_t stream) {
  Call call("embedding_forward");
  const Array weight = call.read(weight_given, "weight"), ids = call.read(ids_given, "ids");
  const Array y = call.read(y_given, "y");
  call.set_any_dtype(weight);
  call.check_rank(weight, 2);
  call.check_rank(ids, 1);
  const i64 entries = weight.shape[0], width = weight.shape[1], rows = ids.size();
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* table = call.in<T>(weight, weight.shape);
    const i64* id = call.in<i64>(ids, ids.shape);
    T* out = call.out<T>(y, {rows, width});
    call.run([&] { return embedding_forward(entries, width, rows, table, id, out, stream_of(stream)); });
  });
}

void backward(const py::object& dy_given, const py::object& ids_given, const py::object& dweight_given, i64 padding_idx,
              std::uintptr_t stream) {
  Call call("embedding_backward");
  const Array dy = call.read(dy_given, "dy"), ids = call.read(ids_given, "ids");
  const Array dweight = call.read(dweight_given, "dweight");
  call.set_any_dtype(dweight);
  call.check_rank(dweight, 2);
  call.check_rank(ids, 1);
  const i64 entries = dweight.shape[0], width = dweight.shape[1], rows = ids.size();
  call.require(padding_idx >= -1 && padding_idx < entries, [&] {
    return "padding_idx is " + std::to_string(padding_idx) + ", expected -1 (none) to " + std::to_string(entries - 1);
  });
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const T* gradient = call.in<T>(dy, {rows, width});
    const i64* id = call.in<i64>(ids, ids.shape);
    T* out = call.out<T>(dweight, dweight.shape);
    call.run(
        [&] { return embedding_backward(entries, width, rows, gradient, id, padding_idx, out, stream_of(stream)); });
  });
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def("embedding_forward", &forward, py::arg("weight"), py::arg("ids"), py::arg("y"), py::kw_only(),
        py::arg("stream") = 0);
  m.def("embedding_backward", &backward, py::arg("dy"), py::arg("ids"), py::arg("dweight"), py::arg("padding_idx"),
        py::kw_only(), py::arg("stream") = 0);
}

}  // namespace jadro::cuda
