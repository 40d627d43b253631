// Arithmetic and reductions of NumPy's arrays: of float32 by the library's kernels, where operands have one shape or
// are numbers and reduced axes lie side by side; else NumPy's.
#include <algorithm>
#include <iterator>

#include "bindings/tape_arrays.h"
#include "ops/arithmetic.h"
#include "ops/reduce.h"

namespace jadro {
namespace {

constexpr const char* kNames[] = {"add",     "subtract", "multiply", "true_divide", "maximum",
                                  "minimum", "absolute", "negative", "sqrt",        "exp"};
PyObject* ufuncs[std::size(kNames)];  // in the order of Arithmetic
PyObject* int64;                      // the dtype

// The shape that arrays are broadcast to; false where they cannot be.
bool broadcast(PyObject* const* xs, Py_ssize_t count, Shape* shape) {
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!is_array(xs[i])) continue;
    const auto* x = array_of(xs[i]);
    if (static_cast<int>(shape->size()) < x->nd) shape->insert(shape->begin(), x->nd - shape->size(), 1);
    for (int d = 1; d <= x->nd; ++d) {
      Py_ssize_t& size = (*shape)[shape->size() - d];
      const Py_ssize_t own = x->dimensions[x->nd - d];
      if (own == 1) continue;
      if (size != 1 && size != own) return false;
      size = own;
    }
  }
  return true;
}

// Whether an array is one number, repeated to the shape of `like`.
bool is_repeated(PyObject* x, PyObject* like) {
  const auto *own = array_of(x), *whole = array_of(like);
  if (own->nd > whole->nd) return false;
  for (int d = 1; d <= own->nd; ++d) {
    const Py_ssize_t size = own->dimensions[own->nd - d];
    if (size == 1) continue;
    if (own->strides[own->nd - d] != 0 || size != whole->dimensions[whole->nd - d]) return false;
  }
  return true;
}

bool same_shape(PyObject* x, PyObject* like) {
  const auto *own = array_of(x), *whole = array_of(like);
  return own->nd == whole->nd && std::equal(own->dimensions, own->dimensions + own->nd, whole->dimensions);
}

// x as an operand for a result in the shape of `like`; `room` is for a number.
bool operand_of(PyObject* x, PyObject* like, float* room, Operand<float>* found) {
  double number = 0;
  if (is_array(x)) {
    if (!holds_float32(x)) return false;
    if (is_plain_array(x) && same_shape(x, like)) {
      *found = {data_of<const float>(x), 1};
      return true;
    }
    if (!is_repeated(x, like)) return false;
    number = *data_of<const float>(x);
  } else {
    if (!PyFloat_Check(x) && !PyObject_TypeCheck(x, reinterpret_cast<PyTypeObject*>(tape.scalar.ptr()))) return false;
    number = PyFloat_AsDouble(x);
  }
  for (int i = 0; i < kRepeated; ++i) room[i] = static_cast<float>(number);
  *found = {room, 0};
  return true;
}

// f(a, b) of floats by a kernel; nothing where there is none for these.
py::object by_kernel(Arithmetic f, PyObject* a, PyObject* b) {
  PyObject* const like = !is_array(a) || (b != a && is_array(b) && nbytes_of(b) > nbytes_of(a)) ? b : a;
  float rooms[2][kRepeated];
  Operand<float> left, right;
  if (!is_array(like) || !operand_of(a, like, rooms[0], &left) || !operand_of(b, like, rooms[1], &right)) return {};
  py::object y = empty(descr_of(like), array_of(like)->nd, array_of(like)->dimensions);
  const std::size_t bytes = nbytes_of(like);
  const Unlocked unlocked(bytes);
  arithmetic(f, left, right, data_of<float>(y.ptr()), static_cast<i64>(bytes / sizeof(float)));
  return y;
}

py::object by_numpy(PyObject* const* args, Py_ssize_t count) {
  PyObject* large = nullptr;
  for (Py_ssize_t i = 1; i < count && !large; ++i) {
    if (is_array(args[i]) && nbytes_of(args[i]) >= kKeptBytes) large = args[i];
  }
  Shape shape;
  if (!large || !broadcast(args + 1, count - 1, &shape)) {
    return steal(PyObject_Vectorcall(args[0], args + 1, static_cast<std::size_t>(count - 1), nullptr));
  }
  const py::object out = empty(descr_of(large), static_cast<Py_ssize_t>(shape.size()), shape.data());
  std::vector<PyObject*> call(args + 1, args + count);
  call.push_back(out.ptr());
  static PyObject* const names = PyTuple_Pack(1, PyUnicode_InternFromString("out"));
  return steal(PyObject_Vectorcall(args[0], call.data(), static_cast<std::size_t>(count - 1), names));
}

PyObject* compute(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count < 2) {
    PyErr_SetString(PyExc_TypeError, "compute: expected a function and arrays");
    return nullptr;
  }
  return guarded([&] {
    const auto known = std::find(std::begin(ufuncs), std::end(ufuncs), args[0]) - std::begin(ufuncs);
    py::object y;
    if (known < static_cast<std::ptrdiff_t>(std::size(ufuncs)) && count <= 3)
      y = by_kernel(static_cast<Arithmetic>(known), args[1], args[count - 1]);
    return y ? y : by_numpy(args, count);
  });
}

PyObject* select_call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3) {
    PyErr_SetString(PyExc_TypeError, "select: expected a condition and two operands");
    return nullptr;
  }
  return guarded([&] {
    PyObject *const mask = args[0], *const typed = is_array(args[1]) ? args[1] : args[2];
    py::object y = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    if (!is_array(mask) || !has_type(mask, py::detail::npy_api::NPY_BOOL_) || !is_plain_array(mask)) return y;
    float rooms[2][kRepeated];
    Operand<float> a, b;
    if (!is_array(typed) || !operand_of(args[1], mask, rooms[0], &a) || !operand_of(args[2], mask, rooms[1], &b)) {
      return y;
    }
    y = empty(descr_of(typed), array_of(mask)->nd, array_of(mask)->dimensions);
    const std::size_t n = nbytes_of(mask);
    const Unlocked unlocked(n * sizeof(float));
    select(data_of<const unsigned char>(mask), a, b, data_of<float>(y.ptr()), static_cast<i64>(n));
    return y;
  });
}

// What `reduce` computes.
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

void run(Kind kind, const ReducedShape& s, double less, const float* x, float* y) {
  constexpr Reduction kReductions[] = {Reduction::kSum, Reduction::kSum, Reduction::kSquares, Reduction::kMax,
                                       Reduction::kMin};
  const double n = static_cast<double>(s.n);
  if (kind == Kind::kVariance) return variance(s, n > less ? n - less : 0, x, y);
  reduce(kReductions[static_cast<int>(kind)], s, x, y);
  const i64 results = s.outer * s.inner;
  if (kind == Kind::kNorm) arithmetic(Arithmetic::kSqrt, {y, 1}, {y, 1}, y, results);
  if (kind != Kind::kMean) return;
  float count[kRepeated];
  for (float& value : count) value = static_cast<float>(n);
  arithmetic(Arithmetic::kDivide, {y, 1}, {count, 0}, y, results);
}

PyObject* reduce_call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !PyLong_Check(args[0]) || (args[2] != Py_None && !PyTuple_CheckExact(args[2]))) {
    PyErr_SetString(PyExc_TypeError, "reduce: expected a kind, an array, a tuple or None, a boolean and a number");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const long kind = PyLong_AsLong(args[0]);
    if (kind < 0 || kind > static_cast<long>(Kind::kVariance)) throw py::value_error("reduce: kind is none of 0..5");
    PyObject* const x = args[1];
    Plan plan;
    py::object y = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    if (!is_array(x) || !holds_float32(x) || !is_plain_array(x)) return y;
    if (!plan_of(x, args[2], args[3] == Py_True, &plan)) return y;
    const double less = PyFloat_AsDouble(args[4]);
    y = empty(descr_of(x), static_cast<Py_ssize_t>(plan.result.size()), plan.result.data());
    const Unlocked unlocked(nbytes_of(x));
    run(static_cast<Kind>(kind), plan.sizes, less, data_of<const float>(x), data_of<float>(y.ptr()));
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
    const i64 numbers = static_cast<i64>(nbytes_of(x) / sizeof(float));
    if (array->nd == 0 || numbers == 0 || !holds_float32(x) || !is_plain_array(x)) {
      return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    }
    const int rank = array->nd - 1;
    const i64 n = array->dimensions[rank];
    const py::object y = empty(descr_of(x), rank, array->dimensions);
    const py::object at = empty(int64, rank, array->dimensions);
    py::object both = steal(PyTuple_Pack(2, y.ptr(), at.ptr()));
    const Unlocked unlocked(nbytes_of(x));
    reduce_places(args[1] == Py_True ? Reduction::kMax : Reduction::kMin, {numbers / n, n, 1}, data_of<const float>(x),
                  data_of<float>(y.ptr()), data_of<i64>(at.ptr()));
    return both;
  });
}

PyMethodDef functions[] = {
    {"compute", function(compute), METH_FASTCALL, "compute(ufunc: numpy.ufunc, *xs) -> object"},
    {"reduce", function(reduce_call), METH_FASTCALL,
     "reduce(kind: int, x: object, axes: tuple | None, keepdim: bool, correction: float) -> object"},
    {"reduce_places", function(reduce_places_call), METH_FASTCALL,
     "reduce_places(x: numpy.ndarray, largest: bool) -> object"},
    {"select", function(select_call), METH_FASTCALL, "select(condition: object, a: object, b: object) -> object"},
    {},
};

}  // namespace

void bind_arithmetic(py::module_& m) {
  const py::object numpy = steal(PyImport_ImportModule("numpy"));
  for (std::size_t i = 0; i < std::size(kNames); ++i) ufuncs[i] = PyObject_GetAttrString(numpy.ptr(), kNames[i]);
  int64 = py::dtype::of<i64>().release().ptr();
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
