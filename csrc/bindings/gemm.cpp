#include "ops/gemm.h"

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/tape_arrays.h"

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

// An operand of matmul: matrices [..., rows, columns], any strides, in elements.
template <class T>
struct Matrices {
  Matrices(const py::object& array, bool transposed) : x(array_of(array.ptr())), at(data_of<const T>(array.ptr())) {
    rows = size(1), columns = size(0), row = rows == 1 ? 1 : step(1), column = columns == 1 ? 1 : step(0);
    if (transposed) std::swap(rows, columns), std::swap(row, column);
  }
  // Axes are counted from the last one; those in front of the first have one place. One place takes no step.
  i64 size(int axis) const { return axis < x->nd ? x->dimensions[x->nd - 1 - axis] : 1; }
  i64 step(int axis) const { return size(axis) == 1 ? 0 : x->strides[x->nd - 1 - axis] / static_cast<i64>(sizeof(T)); }

  py::detail::PyArray_Proxy* x;
  const T* at;
  i64 rows, columns, row, column;
};

// The rows of all matrices, where they lie evenly apart, as those of one.
template <class T>
bool join_rows(Matrices<T>& a) {
  i64 rows = a.rows, row = a.row;
  for (int axis = 2; axis < a.x->nd; ++axis) {
    if (a.size(axis) == 1) continue;
    if (rows == 1) row = a.step(axis);
    if (a.step(axis) != row * rows) return false;
    rows *= a.size(axis);
  }
  a.rows = rows, a.row = row;
  return true;
}

// Where the matrices of `x` stand for each place of the leading axes `sizes`, the last axis first.
template <class T>
std::vector<i64> places(const Matrices<T>& x, const std::vector<i64>& sizes) {
  std::vector<i64> at{0};
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    const std::size_t count = at.size();
    at.resize(count * static_cast<std::size_t>(sizes[axis]));
    const i64 step = x.step(static_cast<int>(axis) + 2);
    for (std::size_t i = count; i < at.size(); ++i) at[i] = at[i - count] + step;
  }
  return at;
}

template <class T>
py::object product(const py::object& x, const py::object& y, const T* bias, bool trans_a, bool trans_b) {
  Matrices<T> a(x, trans_a);
  const Matrices<T> b(y, trans_b);
  if (a.columns != b.rows) throw py::value_error("matmul: the inner sizes of a and b differ");
  Sizes batch;  // the last axis first
  bool one_b = true;
  for (int axis = 2; axis < std::max(a.x->nd, b.x->nd); ++axis) {
    const i64 p = a.size(axis), q = b.size(axis);
    if (p != q && p != 1 && q != 1) throw py::value_error("matmul: the leading axes of a and b cannot be broadcast");
    batch.push_back(p == 1 ? q : p);
    one_b = one_b && q == 1;
  }
  Sizes shape(batch.rbegin(), batch.rend());
  if (a.x->nd > 1) shape.push_back(a.rows);
  shape.push_back(b.columns);
  const py::object out = empty(a.x->descr, static_cast<Py_ssize_t>(shape.size()), shape.data());
  if (a.rows == 0 || b.columns == 0) return out;
  if (one_b && join_rows(a)) batch.clear();
  const Gemm<T> g{a.rows,    b.columns, a.columns, a.at, a.row, a.column, b.at, b.row, b.column, data_of<T>(out.ptr()),
                  b.columns, bias,      false};
  const Sizes a_at = places(a, batch), b_at = places(b, batch);
  {
    py::gil_scoped_release unlocked;
    gemm_batch(g, static_cast<i64>(a_at.size()), a_at.data(), b_at.data());
  }
  return out;
}

// The array, or a contiguous copy: a kernel reads aligned elements, those of a row or of a column side by side.
py::object readable(const py::array& x) {
  const i64 step = x.itemsize(), last = x.ndim() - 1;
  bool steps = true, beside = false;
  for (i64 axis = 0; axis <= last; ++axis) {
    steps = steps && x.strides(axis) % step == 0;
    beside = beside || (axis >= last - 1 && (x.strides(axis) == step || x.shape(axis) == 1));
  }
  const bool aligned = x.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return aligned && steps && beside ? py::object(x) : py::object(x.attr("copy")("C"));
}

PyObject* matmul(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    Call call("matmul");
    if (count != 5 || !is_array(args[0]) || !is_array(args[1]) || !(args[2] == Py_None || is_array(args[2]))) {
      call.type_error("expected NumPy arrays a, b and bias (or None), trans_a and trans_b");
    }
    const auto a = py::reinterpret_borrow<py::array>(args[0]), b = py::reinterpret_borrow<py::array>(args[1]);
    call.set_dtype(a, "a");
    call.require(a.ndim() > 0 && b.ndim() > 1, [] { return "expected at least one axis of a and two of b"; });
    py::object out;
    with_dtype(call, [&](auto zero) {
      using T = decltype(zero);
      if (!py::isinstance<py::array_t<T>>(b)) call.type_error("a and b have different dtypes");
      const bool trans_a = args[3] == Py_True, trans_b = args[4] == Py_True;
      const T* bias = nullptr;
      if (args[2] != Py_None) {
        const auto given = py::reinterpret_borrow<py::array>(args[2]);
        bias = call.in<T>(given, "bias", {b.shape(b.ndim() - (trans_b ? 2 : 1))});
      }
      out = product<T>(readable(a), readable(b), bias, trans_a, trans_b);
    });
    return out;
  });
}

PyMethodDef functions[] = {
    {"matmul", function(matmul), METH_FASTCALL,
     "matmul(a: numpy.ndarray, b: numpy.ndarray, bias: numpy.ndarray | None, trans_a: bool, trans_b: bool) -> "
     "numpy.ndarray"},
    {},
};

}  // namespace

void bind_gemm(py::module_& m) {
  m.def("gemm", &gemm_call, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("bias") = py::none(),
        py::arg("trans_a") = false, py::arg("trans_b") = false, py::arg("accumulate") = false);
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
