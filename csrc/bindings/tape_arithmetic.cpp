// Arithmetic of NumPy's arrays: the library's kernels where operands have one shape or are numbers, else NumPy's.
#include <algorithm>
#include <iterator>

#include "bindings/tape_arrays.h"
#include "ops/arithmetic.h"

namespace jadro {
namespace {

constexpr const char* kNames[] = {"add",     "subtract", "multiply", "true_divide", "maximum",
                                  "minimum", "absolute", "negative", "sqrt",        "exp"};
PyObject* ufuncs[std::size(kNames)];  // in the order of Arithmetic

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
template <class T>
bool operand_of(PyObject* x, PyObject* like, T* room, Operand<T>* found) {
  double number = 0;
  if (is_array(x)) {
    if (!holds<T>(x)) return false;
    if (is_plain_array(x) && same_shape(x, like)) {
      *found = {data_of<const T>(x), 1};
      return true;
    }
    if (!is_repeated(x, like)) return false;
    number = *data_of<const T>(x);
  } else {
    if (!PyFloat_Check(x) && !PyObject_TypeCheck(x, reinterpret_cast<PyTypeObject*>(tape.scalar.ptr()))) return false;
    number = PyFloat_AsDouble(x);
  }
  for (int i = 0; i < kRepeated; ++i) room[i] = static_cast<T>(number);
  *found = {room, 0};
  return true;
}

// f(a, b) of floats by a kernel; nothing where there is none for these.
py::object by_kernel(Arithmetic f, PyObject* a, PyObject* b) {
  PyObject* const like = !is_array(a) || (b != a && is_array(b) && nbytes_of(b) > nbytes_of(a)) ? b : a;
  py::object y;
  if (!is_array(like)) return y;
  with_floats(like, [&](auto zero) {
    using T = decltype(zero);
    T rooms[2][kRepeated];
    Operand<T> left, right;
    if (!operand_of(a, like, rooms[0], &left) || !operand_of(b, like, rooms[1], &right)) return false;
    y = empty(descr_of(like), array_of(like)->nd, array_of(like)->dimensions);
    const std::size_t bytes = nbytes_of(like);
    T* const to = data_of<T>(y.ptr());
    const Unlocked unlocked(bytes);
    arithmetic(f, left, right, to, static_cast<i64>(bytes / sizeof(T)));
    return true;
  });
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
    if (!is_array(typed)) return y;
    with_floats(typed, [&](auto zero) {
      using T = decltype(zero);
      T rooms[2][kRepeated];
      Operand<T> a, b;
      if (!operand_of(args[1], mask, rooms[0], &a) || !operand_of(args[2], mask, rooms[1], &b)) return false;
      y = empty(descr_of(typed), array_of(mask)->nd, array_of(mask)->dimensions);
      const std::size_t n = nbytes_of(mask);
      T* const to = data_of<T>(y.ptr());
      const Unlocked unlocked(n * sizeof(T));
      select(data_of<const unsigned char>(mask), a, b, to, static_cast<i64>(n));
      return true;
    });
    return y;
  });
}

PyCFunction function(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef functions[] = {
    {"compute", function(compute), METH_FASTCALL, "compute(ufunc: numpy.ufunc, *xs) -> object"},
    {"select", function(select_call), METH_FASTCALL, "select(condition: object, a: object, b: object) -> object"},
    {},
};

}  // namespace

void bind_arithmetic(py::module_& m) {
  const py::module_ numpy = py::module_::import("numpy");
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    ufuncs[i] = numpy.attr(kNames[i]).cast<py::object>().release().ptr();
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
