// Reductions of NumPy's arrays. What the kernels do not take is NotImplemented, and NumPy's.
#include "bindings/tape_arrays.h"
#include "ops/arithmetic.h"
#include "ops/reduce.h"

namespace jadro {
namespace {

enum class Kind : long { kSum, kMean, kNorm, kMax, kMin, kVariance };

// x as [outer,n,inner], n the axes that are reduced, and the shape of the result.
struct Plan {
  ReducedShape sizes{1, 1, 1};
  Shape result;
};

// False where the axes do not lie side by side, or x is empty.
bool plan_of(PyObject* x, PyObject* axes, bool keepdim, Plan* plan) {
  const auto* array = array_of(x);
  for (int d = 0; d < array->nd; ++d) {
    const Py_ssize_t size = array->dimensions[d];
    bool reduced = axes == Py_None;
    for (Py_ssize_t i = 0; !reduced && i < PyTuple_GET_SIZE(axes); ++i) {
      reduced = PyLong_AsLong(PyTuple_GET_ITEM(axes, i)) == d;
    }
    if (!reduced || keepdim) plan->result.push_back(reduced ? 1 : size);
    if (size == 0) return false;
    if (size == 1) continue;
    if (!reduced) {
      (plan->sizes.n == 1 ? plan->sizes.outer : plan->sizes.inner) *= size;
    } else if (plan->sizes.inner == 1) {
      plan->sizes.n *= size;
    } else {
      return false;
    }
  }
  return true;
}

template <class T>
void run(Kind kind, const ReducedShape& s, double less, const T* x, T* y) {
  constexpr Reduction kReductions[] = {Reduction::kSum, Reduction::kSum, Reduction::kSquares, Reduction::kMax,
                                       Reduction::kMin};
  const double n = static_cast<double>(s.n);
  if (kind == Kind::kVariance) return variance(s, n > less ? n - less : 0, x, y);
  reduce(kReductions[static_cast<int>(kind)], s, x, y);
  const i64 results = s.outer * s.inner;
  if (kind == Kind::kNorm) arithmetic<T>(Arithmetic::kSqrt, {y, 1}, {y, 1}, y, results);
  if (kind != Kind::kMean) return;
  T count[kRepeated];
  for (T& value : count) value = static_cast<T>(n);
  arithmetic<T>(Arithmetic::kDivide, {y, 1}, {count, 0}, y, results);
}

PyObject* reduce_call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !PyLong_Check(args[0]) || (args[2] != Py_None && !PyTuple_CheckExact(args[2]))) {
    PyErr_SetString(PyExc_TypeError, "reduce: expected a kind, an array, a tuple or None, a boolean and a number");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const auto kind = static_cast<Kind>(PyLong_AsLong(args[0]));
    PyObject* const x = args[1];
    Plan plan;
    py::object y = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    if (!is_array(x) || !is_plain_array(x) || !plan_of(x, args[2], args[3] == Py_True, &plan)) return y;
    const double less = PyFloat_AsDouble(args[4]);
    with_floats(x, [&](auto zero) {
      using T = decltype(zero);
      y = empty(descr_of(x), static_cast<Py_ssize_t>(plan.result.size()), plan.result.data());
      T* const to = data_of<T>(y.ptr());
      const Unlocked unlocked(nbytes_of(x));
      run(kind, plan.sizes, less, data_of<const T>(x), to);
      return true;
    });
    return y;
  });
}

PyObject* reduce_places_call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !is_array(args[0])) {
    PyErr_SetString(PyExc_TypeError, "reduce_places: expected a NumPy array and a boolean");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    PyObject* const x = args[0];
    const auto* array = array_of(x);
    py::object found = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    if (array->nd == 0 || !is_plain_array(x) || nbytes_of(x) == 0) return found;
    with_floats(x, [&](auto zero) {
      using T = decltype(zero);
      const int rank = array->nd - 1;
      const i64 n = array->dimensions[rank];
      static PyObject* const places = py::dtype::of<i64>().release().ptr();
      const py::object y = empty(descr_of(x), rank, array->dimensions), at = empty(places, rank, array->dimensions);
      T* const to = data_of<T>(y.ptr());
      i64* const place = data_of<i64>(at.ptr());
      const ReducedShape sizes{static_cast<i64>(nbytes_of(x) / sizeof(T)) / n, n, 1};
      found = steal(PyTuple_Pack(2, y.ptr(), at.ptr()));
      const Unlocked unlocked(nbytes_of(x));
      reduce_places(args[1] == Py_True ? Reduction::kMax : Reduction::kMin, sizes, data_of<const T>(x), to, place);
      return true;
    });
    return found;
  });
}

PyCFunction function(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef functions[] = {
    {"reduce", function(reduce_call), METH_FASTCALL,
     "reduce(kind: int, x: object, axes: tuple | None, keepdim: bool, correction: float) -> object"},
    {"reduce_places", function(reduce_places_call), METH_FASTCALL,
     "reduce_places(x: numpy.ndarray, largest: bool) -> object"},
    {},
};

}  // namespace

void bind_reduce(py::module_& m) {
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
