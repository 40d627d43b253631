// Checks shared by the bindings. An array that a kernel sees is C-contiguous, aligned, in native byte order, and of the
// dtype and shape that the call says; anything else raises before any work.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "core/shapes.h"

namespace jadro {
namespace py = pybind11;

using Sizes = std::vector<i64>;  // one an axis

inline std::string shape_text(const Sizes& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::vector<i64> shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }

// A shape that is only looked at: sizes in braces, a vector of them, or those of an array.
class Dims {
 public:
  Dims(std::initializer_list<i64> sizes) : first_(std::data(sizes)), rank_(sizes.size()) {}
  Dims(const std::vector<i64>& sizes) : first_(sizes.data()), rank_(sizes.size()) {}
  template <std::size_t N>
  Dims(const std::array<i64, N>& sizes) : first_(sizes.data()), rank_(N) {}
  explicit Dims(const py::array& a) : first_(a.shape()), rank_(static_cast<std::size_t>(a.ndim())) {}
  bool are_those_of(const py::array& a) const {
    return static_cast<std::size_t>(a.ndim()) == rank_ && std::equal(first_, first_ + rank_, a.shape());
  }
  std::string text() const { return shape_text({first_, first_ + rank_}); }

 private:
  const i64* first_;
  std::size_t rank_;
};

// The name of an argument, perhaps of one array of a list: "grads[3]".
struct Argument {
  const char* name;
  std::size_t place;
  Argument(const char* argument) : name(argument), place(SIZE_MAX) {}
  Argument(const char* list, std::size_t i) : name(list), place(i) {}
  std::string text() const { return place == SIZE_MAX ? name : name + ("[" + std::to_string(place) + "]"); }
};

// One call's arrays: knows the call's name and, from the first floating array on, its dtype.
class Call {
 public:
  explicit Call(const char* name) : name_(name) {}

  [[noreturn]] void type_error(const std::string& what) const {
    throw py::type_error(std::string(name_) + ": " + what);
  }
  [[noreturn]] void value_error(const std::string& what) const {
    throw py::value_error(std::string(name_) + ": " + what);
  }

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
    if (a.ndim() != rank) check_rank(shape_of(a), argument, rank);
  }
  void check_rank(const std::vector<i64>& shape, const std::string& argument, i64 rank) const {
    require(static_cast<i64>(shape.size()) == rank, [&] {
      return argument + " has shape " + shape_text(shape) + ", expected " + std::to_string(rank) + " dimensions";
    });
  }

  // Options of `count` axes, each from `least` to 2^31 - 1.
  void check_sizes(const Sizes& sizes, const char* argument, std::size_t count, i64 least) const {
    const auto what = [&] { return std::string(argument) + " is " + shape_text(sizes) + ", expected "; };
    require(sizes.size() == count, [&] { return what() + std::to_string(count) + " numbers"; });
    for (i64 size : sizes) {
      require(size >= least && size <= INT32_MAX,
              [&] { return what() + "each from " + std::to_string(least) + " to " + std::to_string(INT32_MAX); });
    }
  }

  // Pointer to an input of the call's dtype, with the shape checked.
  template <class T>
  const T* in(const py::array& a, const Argument& argument, const Dims& shape) const {
    check<T>(a, argument, shape);
    return static_cast<const T*>(a.data());
  }
  template <class T>
  const T* in(const std::optional<py::array>& a, const Argument& argument, const Dims& shape) const {
    return a ? in<T>(*a, argument, shape) : nullptr;
  }
  template <class T>
  T* out(py::array& a, const Argument& argument, const Dims& shape) const {
    check<T>(a, argument, shape);
    if (!a.writeable()) value_error(argument.text() + " is read-only, expected a writable array");
    return static_cast<T*>(a.mutable_data());
  }
  template <class T>
  T* out(std::optional<py::array>& a, const Argument& argument, const Dims& shape) const {
    return a ? out<T>(*a, argument, shape) : nullptr;
  }

 private:
  static std::string dtype_text(const py::array& a) { return py::str(a.dtype()).cast<std::string>(); }

  template <class T>
  void check(const py::array& a, const Argument& argument, const Dims& shape) const {
    if (!py::isinstance<py::array_t<T>>(a)) {
      type_error(argument.text() + " has dtype " + dtype_text(a) + ", expected " +
                 py::str(py::dtype::of<T>()).template cast<std::string>());
    }
    if (!shape.are_those_of(a)) {
      value_error(argument.text() + " has shape " + shape_text(shape_of(a)) + ", expected " + shape.text());
    }
    if (!(a.flags() & py::array::c_style) && a.size() != 0) {
      value_error(argument.text() + " is not contiguous, expected a C-contiguous array");
    }
    if (reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) {
      value_error(argument.text() + " is not aligned to its element size");
    }
  }

  const char* name_;
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
