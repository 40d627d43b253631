#include "ops/embedding.h"

#include "bindings/arrays.h"
#include "bindings/module.h"

namespace jadro {
namespace {

const i64* checked_ids(const Call& call, const py::array& ids, i64 table_rows) {
  call.check_rank(ids, "ids", 1);
  const i64* values = call.in<i64>(ids, "ids", shape_of(ids));
  for (i64 r = 0; r < ids.size(); ++r) {
    if (values[r] >= 0 && values[r] < table_rows) continue;
    call.value_error("ids[" + std::to_string(r) + "] is " + std::to_string(values[r]) + ", expected 0 to " +
                     std::to_string(table_rows - 1));
  }
  return values;
}

void forward(const py::array& weight, const py::array& ids, py::array& y) {
  Call call("embedding_forward");
  call.set_dtype(weight, "weight");
  call.check_rank(weight, "weight", 2);
  const i64 e = weight.shape(1), rows = ids.size();
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const T* table = call.in<T>(weight, "weight", shape_of(weight));
    const i64* id = checked_ids(call, ids, weight.shape(0));
    T* out = call.out<T>(y, "y", {rows, e});
    py::gil_scoped_release unlocked;
    embedding_forward(e, rows, table, id, out);
  });
}

void backward(const py::array& dy, const py::array& ids, py::array& dweight, i64 padding_idx) {
  Call call("embedding_backward");
  call.set_dtype(dweight, "dweight");
  call.check_rank(dweight, "dweight", 2);
  const i64 v = dweight.shape(0), e = dweight.shape(1), rows = ids.size();
  if (padding_idx < -1 || padding_idx >= v) {
    call.value_error("padding_idx is " + std::to_string(padding_idx) + ", expected -1 (none) to " +
                     std::to_string(v - 1));
  }
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const i64* id = checked_ids(call, ids, v);
    const T* in = call.in<T>(dy, "dy", {rows, e});
    T* out = call.out<T>(dweight, "dweight", {v, e});
    py::gil_scoped_release unlocked;
    embedding_backward(v, e, rows, in, id, padding_idx, out);
  });
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def("embedding_forward", &forward, py::arg("weight"), py::arg("ids"), py::arg("y"));
  m.def("embedding_backward", &backward, py::arg("dy"), py::arg("ids"), py::arg("dweight"), py::arg("padding_idx"));
}

}  // namespace jadro
