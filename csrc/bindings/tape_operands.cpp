// What stands around every kernel call in Python: the checks of its operands that nearly always pass, and the memory of
// its result. In Python these would cost more than a small kernel.
#include <cstdint>
#include <new>
#include <vector>

#include "bindings/tape.h"
#include "core/memory.h"

namespace jadro {
namespace {

// From this size on results live in memory that the library keeps, so that its pages are touched only once.
constexpr std::size_t kKeptBytes = std::size_t{1} << 17;

constexpr int kFlags =
    py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_ | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

constexpr int kDeepest = 8;  // tuples in tuples that are looked into

using Shape = std::vector<Py_ssize_t>;

bool is_array(PyObject* x) { return py::isinstance<py::array>(x); }
py::detail::PyArray_Proxy* array_of(PyObject* x) { return py::detail::array_proxy(x); }
PyObject* descr_of(PyObject* x) { return array_of(x)->descr; }

// Bytes of so many items of a dtype; the largest number there is where they are more.
std::size_t bytes_of(PyObject* descr, Py_ssize_t rank, const Py_ssize_t* sizes) {
  auto bytes = static_cast<std::size_t>(py::reinterpret_borrow<py::dtype>(descr).itemsize());
  for (Py_ssize_t i = 0; i < rank; ++i) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(sizes[i]), &bytes)) return SIZE_MAX;
  }
  return bytes;
}

std::size_t nbytes_of(PyObject* x) { return bytes_of(descr_of(x), array_of(x)->nd, array_of(x)->dimensions); }

}  // namespace

py::object empty(PyObject* descr, Py_ssize_t rank, const Py_ssize_t* sizes) {
  auto& api = py::detail::npy_api::get();
  const std::size_t bytes = bytes_of(descr, rank, sizes);
  py::object memory;
  void* data = nullptr;
  if (bytes >= kKeptBytes) {
    try {
      data = keep_allocate(bytes);
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "the result is too large for memory");
      throw py::error_already_set();
    }
    memory = py::capsule(data, keep_free);
  }
  Py_INCREF(descr);
  py::object made = steal(api.PyArray_NewFromDescr_(api.PyArray_Type_, descr, static_cast<int>(rank), sizes, nullptr,
                                                    data, data ? kFlags : 0, nullptr));
  if (data) api.PyArray_SetBaseObject_(made.ptr(), memory.release().ptr());
  return made;
}

namespace {

Shape shape_of(PyObject* sizes) {
  Shape shape;
  for (py::handle size : py::reinterpret_borrow<py::tuple>(sizes)) {
    shape.push_back(PyNumber_AsSsize_t(size.ptr(), PyExc_OverflowError));
    if (shape.back() >= 0) continue;
    if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "empty_like: shape is %R, expected no negative size", sizes);
    throw py::error_already_set();
  }
  return shape;
}

PyObject* empty_like(PyObject*, PyObject* const* args, Py_ssize_t count) {
  const auto* descr_type = py::detail::npy_api::get().PyArrayDescr_Type_;
  if (count != 3 || !is_array(args[0]) || (args[1] != Py_None && !PyTuple_CheckExact(args[1])) ||
      (args[2] != Py_None && !PyObject_TypeCheck(args[2], const_cast<PyTypeObject*>(descr_type)))) {
    PyErr_SetString(PyExc_TypeError, "empty_like: expected a NumPy array, a tuple or None, and a dtype or None");
    return nullptr;
  }
  return guarded([&] {
    PyObject* descr = args[2] == Py_None ? descr_of(args[0]) : args[2];
    if (args[1] == Py_None) return empty(descr, array_of(args[0])->nd, array_of(args[0])->dimensions);
    const Shape shape = shape_of(args[1]);
    return empty(descr, static_cast<Py_ssize_t>(shape.size()), shape.data());
  });
}

bool is_contiguous(PyObject* x) {
  if (is_array(x)) return (array_of(x)->flags & py::array::c_style) != 0;
  return py::cast<bool>(py::handle(x).attr("flags").attr("c_contiguous"));
}

PyObject* contiguous(PyObject*, PyObject* x) {
  return guarded([&]() -> py::object {
    if (x == Py_None || is_contiguous(x)) return py::reinterpret_borrow<py::object>(x);
    if (!is_array(x)) return py::handle(x).attr("copy")("C");
    py::object y = empty(descr_of(x), array_of(x)->nd, array_of(x)->dimensions);
    if (PyObject_SetItem(y.ptr(), Py_Ellipsis, x) != 0) throw py::error_already_set();
    return y;
  });
}

PyObject* same_floats(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyTuple_CheckExact(args[0]) || !PyLong_CheckExact(args[1])) {
    PyErr_SetString(PyExc_TypeError, "same_floats: expected a tuple and an integer");
    return nullptr;
  }
  PyObject* tensors = args[0];
  const long needed = PyLong_AsLong(args[1]);
  PyObject* dtype = nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tensors); ++i) {
    PyObject* tensor = PyTuple_GET_ITEM(tensors, i);
    if (tensor == Py_None && i >= needed) continue;
    if (!is_tensor(tensor)) Py_RETURN_FALSE;
    const py::object data = load(tensor, as_tensor(tensor)->data);
    if (!data || !is_array(data.ptr())) Py_RETURN_FALSE;
    PyObject* own = descr_of(data.ptr());
    if (!dtype) {
      const int number = py::reinterpret_borrow<py::dtype>(own).normalized_num();
      if (number != py::detail::npy_api::NPY_FLOAT_ && number != py::detail::npy_api::NPY_DOUBLE_) Py_RETURN_FALSE;
      dtype = own;
    }
    if (own != dtype) Py_RETURN_FALSE;
  }
  Py_RETURN_TRUE;
}

// Whether tuples, nested a few times, hold nothing but integers, booleans, strings and None: things that are equal mean
// the same.
bool is_plain(PyObject* x, int depth) {
  if (depth == 0) return false;
  if (!PyTuple_CheckExact(x)) return PyLong_CheckExact(x) || PyUnicode_CheckExact(x) || PyBool_Check(x) || x == Py_None;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(x); ++i) {
    if (!is_plain(PyTuple_GET_ITEM(x, i), depth - 1)) return false;
  }
  return true;
}

PyObject* is_plain_call(PyObject*, PyObject* x) { return PyBool_FromLong(is_plain(x, kDeepest)); }

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

PyObject* compute(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count < 2) {
    PyErr_SetString(PyExc_TypeError, "compute: expected a function and arrays");
    return nullptr;
  }
  PyObject* large = nullptr;
  for (Py_ssize_t i = 1; i < count && !large; ++i) {
    if (is_array(args[i]) && nbytes_of(args[i]) >= kKeptBytes) large = args[i];
  }
  Shape shape;
  if (!large || !broadcast(args + 1, count - 1, &shape)) {
    return PyObject_Vectorcall(args[0], args + 1, static_cast<std::size_t>(count - 1), nullptr);
  }
  return guarded([&] {
    const py::object out = empty(descr_of(large), static_cast<Py_ssize_t>(shape.size()), shape.data());
    std::vector<PyObject*> call(args + 1, args + count);
    call.push_back(out.ptr());
    static PyObject* const names = PyTuple_Pack(1, PyUnicode_InternFromString("out"));
    return steal(PyObject_Vectorcall(args[0], call.data(), static_cast<std::size_t>(count - 1), names));
  });
}

PyMethodDef functions[] = {
    {"empty_like", function(empty_like), METH_FASTCALL,
     "empty_like(x: numpy.ndarray, shape: tuple | None, dtype: numpy.dtype | None) -> numpy.ndarray"},
    {"contiguous", contiguous, METH_O, "contiguous(x: object) -> object"},
    {"same_floats", function(same_floats), METH_FASTCALL, "same_floats(tensors: tuple, needed: int) -> bool"},
    {"is_plain", is_plain_call, METH_O, "is_plain(x: object) -> bool"},
    {"compute", function(compute), METH_FASTCALL, "compute(ufunc: numpy.ufunc, *xs) -> object"},
    {},
};

}  // namespace

void bind_operands(py::module_& m) {
  m.attr("_KEPT_BYTES") = kKeptBytes;
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
