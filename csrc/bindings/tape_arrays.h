// NumPy's arrays as the tape's calls see them, and the memory of their results.
#pragma once

#include <vector>

#include "bindings/tape.h"

namespace jadro {

// From this size on results live in memory that the library keeps, so that its pages are touched only once.
constexpr std::size_t kKeptBytes = std::size_t{1} << 17;

using Shape = std::vector<Py_ssize_t>;

inline bool is_array(PyObject* x) { return py::isinstance<py::array>(x); }
inline py::detail::PyArray_Proxy* array_of(PyObject* x) { return py::detail::array_proxy(x); }
inline PyObject* descr_of(PyObject* x) { return array_of(x)->descr; }

std::size_t nbytes_of(PyObject* x);
py::object empty(PyObject* descr, Py_ssize_t rank, const Py_ssize_t* sizes);  // not initialised

inline bool has_type(PyObject* x, int number) {
  const auto* descr = py::detail::array_descriptor_proxy(descr_of(x));
  return descr->type_num == number && descr->byteorder != '>';
}
inline bool holds_float32(PyObject* x) { return has_type(x, py::detail::npy_api::NPY_FLOAT_); }

// Kernels read it as it stands.
inline bool is_plain_array(PyObject* x) {
  constexpr int kWanted = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (array_of(x)->flags & kWanted) == kWanted;
}

template <class T>
T* data_of(PyObject* x) {
  return reinterpret_cast<T*>(array_of(x)->data);
}

// Lets go of the GIL for a call whose work is worth it.
class Unlocked {
 public:
  explicit Unlocked(std::size_t bytes) : state_(bytes >= kKeptBytes ? PyEval_SaveThread() : nullptr) {}
  ~Unlocked() {
    if (state_) PyEval_RestoreThread(state_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace jadro
