// Checks shared by the bindings. An array that a kernel sees is C-contiguous, aligned, in native byte order, and of the
// dtype and shape that the call says; anything else raises before any work.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "core/shapes.h"

namespace jadro {
namespace py = pybind11;

inline std::string shape_text(const std::vector<i64>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::vector<i64> shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }

// One call's arrays: knows the call's name and, from the first floating array on, its dtype.
class Call {
 public:
  explicit Call(const char* name) : name_(name) {}

  [[noreturn]] void type_error(const std::string& what) const { throw py::type_error(name_ + ": " + what); }
  [[noreturn]] void value_error(const std::string& what) const { throw py::value_error(name_ + ": " + what); }

  // `what` gives the message, and is called only where it is raised.
  template <class What>
  void require(bool good, What&& what) const {
    if (!good) value_error(what());
  }

  // The dtype of the call: float32 or float64, from its first array.
  void set_dtype(const py::array& a, const char* argument) {
    if (py::isinstance<py::array_t<float>>(a)) {
      is_double_ = false;
    } else if (py::isinstance<py::array_t<double>>(a)) {
      is_double_ = true;
    } else {
      type_error(std::string(argument) + " has dtype " + dtype_text(a) + ", expected float32 or float64");
    }
  }
  bool is_double() const { return is_double_; }

  void check_rank(const py::array& a, const char* argument, i64 rank) const {
    if (a.ndim() == rank) return;
    value_error(std::string(argument) + " has shape " + shape_text(shape_of(a)) + ", expected " + std::to_string(rank) +
                " dimensions");
  }

  // Pointer to an input of the call's dtype, with the shape checked.
  template <class T>
  const T* in(const py::array& a, const char* argument, const std::vector<i64>& shape) const {
    check<T>(a, argument, shape);
    return static_cast<const T*>(a.data());
  }
  template <class T>
  const T* in(const std::optional<py::array>& a, const char* argument, const std::vector<i64>& shape) const {
    return a ? in<T>(*a, argument, shape) : nullptr;
  }
  template <class T>
  T* out(py::array& a, const char* argument, const std::vector<i64>& shape) const {
    check<T>(a, argument, shape);
    if (!a.writeable()) value_error(std::string(argument) + " is read-only, expected a writable array");
    return static_cast<T*>(a.mutable_data());
  }
  template <class T>
  T* out(std::optional<py::array>& a, const char* argument, const std::vector<i64>& shape) const {
    return a ? out<T>(*a, argument, shape) : nullptr;
  }

 private:
  static std::string dtype_text(const py::array& a) { return py::str(a.dtype()).cast<std::string>(); }

  template <class T>
  void check(const py::array& a, const char* argument, const std::vector<i64>& shape) const {
    if (!py::isinstance<py::array_t<T>>(a)) {
      type_error(std::string(argument) + " has dtype " + dtype_text(a) + ", expected " +
                 py::str(py::dtype::of<T>()).template cast<std::string>());
    }
    if (shape_of(a) != shape) {
      value_error(std::string(argument) + " has shape " + shape_text(shape_of(a)) + ", expected " + shape_text(shape));
    }
    if (!(a.flags() & py::array::c_style) && a.size() != 0) {
      value_error(std::string(argument) + " is not contiguous, expected a C-contiguous array");
    }
    if (reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) {
      value_error(std::string(argument) + " is not aligned to its element size");
    }
  }

  std::string name_;
  bool is_double_ = false;
};

// Calls f with a value of the call's floating type.
template <class F>
void with_dtype(const Call& call, F&& f) {
  if (call.is_double()) {
    f(double{});
  } else {
    f(float{});
  }
}

}  // namespace jadro
