// What stands around every kernel call in Python: the checks of its operands that nearly always pass, and the memory of
// its result. In Python these would cost more than a small kernel.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "bindings/tape_arrays.h"
#include "core/memory.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr int kFlags =
    py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_ | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

constexpr i64 kCopyGrain = i64{1} << 18;  // bytes

constexpr int kDeepest = 8;  // tuples in tuples that are looked into

// Bytes of so many items of a dtype; the largest number there is where they are more.
std::size_t bytes_of(PyObject* descr, Py_ssize_t rank, const Py_ssize_t* sizes) {
  auto bytes = static_cast<std::size_t>(py::reinterpret_borrow<py::dtype>(descr).itemsize());
  for (Py_ssize_t i = 0; i < rank; ++i) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(sizes[i]), &bytes)) return SIZE_MAX;
  }
  return bytes;
}

}  // namespace

std::size_t nbytes_of(PyObject* x) { return bytes_of(descr_of(x), array_of(x)->nd, array_of(x)->dimensions); }

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

PyObject* seen(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyTuple_CheckExact(args[1])) {
    PyErr_SetString(PyExc_TypeError, "seen: expected an array or None and a tuple");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const py::object x = steal(contiguous(nullptr, args[0]));
    if (x.is_none()) return x;
    if (!is_array(x.ptr())) return x.attr("reshape")(py::handle(args[1]));
    const Shape shape = shape_of(args[1]);
    const auto* own = array_of(x.ptr());
    if (own->nd == static_cast<int>(shape.size()) && std::equal(shape.begin(), shape.end(), own->dimensions)) return x;
    if (bytes_of(own->descr, static_cast<Py_ssize_t>(shape.size()), shape.data()) != nbytes_of(x.ptr())) {
      PyErr_Format(PyExc_ValueError, "seen: shape is %R, which does not hold the array's elements", args[1]);
      throw py::error_already_set();
    }
    auto& api = py::detail::npy_api::get();
    Py_INCREF(own->descr);
    py::object y = steal(api.PyArray_NewFromDescr_(api.PyArray_Type_, own->descr, static_cast<int>(shape.size()),
                                                   shape.data(), nullptr, own->data, own->flags & kFlags, nullptr));
    api.PyArray_SetBaseObject_(y.ptr(), py::object(x).release().ptr());
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

// Copies `pieces` of runs of memory, one of each source in turn, to y; large ones by all threads.
void copy_in_turn(const std::vector<std::pair<const char*, i64>>& sources, i64 pieces, i64 row, char* y) {
  if (pieces == 1) {
    for (const auto& [from, bytes] : sources) {
      parallel_ranges(bytes, kCopyGrain, 64, [from = from, y](Range range) {
        std::memcpy(y + range.begin, from + range.begin, static_cast<std::size_t>(range.end - range.begin));
      });
      y += bytes;
    }
    return;
  }
  parallel_ranges(pieces, kCopyGrain / row + 1, 1, [&](Range range) {
    for (i64 piece = range.begin; piece < range.end; ++piece) {
      char* to = y + piece * row;
      for (const auto& [from, bytes] : sources) {
        std::memcpy(to, from + piece * bytes, static_cast<std::size_t>(bytes));
        to += bytes;
      }
    }
  });
}

PyObject* join(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3 || !PyTuple_CheckExact(args[0]) || PyTuple_GET_SIZE(args[0]) == 0) {
    PyErr_SetString(PyExc_TypeError, "join: expected a tuple of arrays, an axis and a boolean");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const Py_ssize_t many = PyTuple_GET_SIZE(args[0]), axis = PyNumber_AsSsize_t(args[1], nullptr);
    const bool stacked = args[2] == Py_True;
    PyObject* const first = PyTuple_GET_ITEM(args[0], 0);
    const py::object no = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    std::vector<std::pair<const char*, i64>> sources;
    Py_ssize_t joined = 0;
    i64 pieces = 1, row = 0;
    for (Py_ssize_t i = 0; i < many; ++i) {
      PyObject* const x = PyTuple_GET_ITEM(args[0], i);
      if (!is_array(x) || !is_plain_array(x) || descr_of(x) != descr_of(first)) return no;
      if (axis < 0 || axis + !stacked > array_of(x)->nd) return no;
      if (i == 0) {
        for (Py_ssize_t d = 0; d < axis; ++d) pieces *= array_of(x)->dimensions[d];
      }
      if (pieces == 0) return no;
      sources.emplace_back(data_of<const char>(x), static_cast<i64>(nbytes_of(x)) / pieces);
      row += sources.back().second;
      joined += stacked ? 1 : array_of(x)->dimensions[axis];
    }
    Shape shape(array_of(first)->dimensions, array_of(first)->dimensions + array_of(first)->nd);
    if (stacked) {
      shape.insert(shape.begin() + axis, joined);
    } else {
      shape[static_cast<std::size_t>(axis)] = joined;
    }
    py::object y = empty(descr_of(first), static_cast<Py_ssize_t>(shape.size()), shape.data());
    const Unlocked unlocked(static_cast<std::size_t>(pieces * row));
    if (row > 0) copy_in_turn(sources, pieces, row, data_of<char>(y.ptr()));
    return y;
  });
}

PyMethodDef functions[] = {
    {"empty_like", function(empty_like), METH_FASTCALL,
     "empty_like(x: numpy.ndarray, shape: tuple | None, dtype: numpy.dtype | None) -> numpy.ndarray"},
    {"contiguous", contiguous, METH_O, "contiguous(x: object) -> object"},
    {"seen", function(seen), METH_FASTCALL, "seen(x: object, shape: tuple) -> object"},
    {"same_floats", function(same_floats), METH_FASTCALL, "same_floats(tensors: tuple, needed: int) -> bool"},
    {"join", function(join), METH_FASTCALL, "join(arrays: tuple, axis: int, stacked: bool) -> object"},
    {"is_plain", is_plain_call, METH_O, "is_plain(x: object) -> bool"},
    {},
};

}  // namespace

void bind_operands(py::module_& m) {
  m.attr("_KEPT_BYTES") = kKeptBytes;
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace jadro
