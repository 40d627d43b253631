// arrays.h for the CUDA module: an array is whatever has a __cuda_array_interface__ (version 3). An array that a kernel
// sees is C-contiguous, aligned, on the device of the call's first array, and of the dtype and shape that the call
// says; anything else raises before any work.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "bindings/arrays.h"

namespace jadro::cuda {

// RuntimeError where a call of the CUDA runtime failed; the runtime forgets the error, so that the next call starts
// clean.
inline void check_cuda(cudaError_t error, const std::string& call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(call + ": CUDA says " + cudaGetErrorString(error));
}

// Makes `device` the thread's current one, until the end of the scope.
class DeviceScope {
 public:
  DeviceScope(int device, const std::string& call) {
    check_cuda(cudaGetDevice(&before_), call);
    check_cuda(cudaSetDevice(device), call);
  }
  ~DeviceScope() { cudaSetDevice(before_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
};

// What __cuda_array_interface__ says of one argument.
struct Array {
  const char* argument;
  std::vector<i64> shape;
  py::dtype dtype;
  std::uintptr_t data;
  bool writable, contiguous;

  bool empty() const { return std::find(shape.begin(), shape.end(), 0) != shape.end(); }
};

// One call's arrays: knows the call's name, its dtype, and the arrays that its kernel sees.
class Call : public jadro::Call {
 public:
  explicit Call(const char* name) : jadro::Call(name), name_(name) {}

  Array read(const py::object& given, const char* argument) const {
    if (!py::hasattr(given, "__cuda_array_interface__")) {
      type_error(std::string(argument) + " is a " + Py_TYPE(given.ptr())->tp_name + ", expected a CuPy array");
    }
    try {
      return described(given.attr("__cuda_array_interface__"), argument);
    } catch (const py::cast_error&) {
      type_error(std::string(argument) + " has a __cuda_array_interface__ that cannot be read");
    }
  }
  std::optional<Array> read(const std::optional<py::object>& given, const char* argument) const {
    return given ? std::optional(read(*given, argument)) : std::nullopt;
  }

  // The dtype of the call: float32 or float64.
  void set_dtype(const Array& a) {
    if (!a.dtype.equal(py::dtype::of<float>()) && !a.dtype.equal(py::dtype::of<double>())) {
      type_error(dtype_text(a) + "float32 or float64");
    }
    is_double_ = a.dtype.equal(py::dtype::of<double>());
  }

  // Calls f with a value of the call's floating type.
  template <class F>
  void with_dtype(F&& f) const {
    if (is_double_) {
      f(double{});
    } else {
      f(float{});
    }
  }

  void check_rank(const Array& a, std::size_t rank) const {
    require(a.shape.size() == rank, [&] {
      return std::string(a.argument) + " has shape " + shape_text(a.shape) + ", expected " + std::to_string(rank) +
             " dimensions";
    });
  }

  // Pointer to an input of the call's dtype, with the shape checked.
  template <class T>
  const T* in(const Array& a, const std::vector<i64>& shape) {
    check_layout<T>(a, shape);
    if (!a.empty()) arrays_.push_back(&a);
    return reinterpret_cast<const T*>(a.data);
  }
  template <class T>
  T* out(const Array& a, const std::vector<i64>& shape) {
    require(a.writable, [&] { return std::string(a.argument) + " is read-only, expected a writable array"; });
    return const_cast<T*>(in<T>(a, shape));
  }
  template <class T>
  T* out(const std::optional<Array>& a, const std::vector<i64>& shape) {
    return a ? out<T>(*a, shape) : nullptr;
  }

  // Runs launch() on the device of the arrays, once they are known to share one; RuntimeError where it fails. Does
  // nothing where all arrays are empty.
  template <class Launch>
  void launch(Launch&& launch) const {
    if (arrays_.empty()) return;
    const int device = device_of(*arrays_[0]);
    for (const Array* a : arrays_) {
      const int other = device_of(*a);
      require(other == device, [&] {
        return std::string(a->argument) + " is on cuda:" + std::to_string(other) +
               ", expected cuda:" + std::to_string(device) + " like " + arrays_[0]->argument;
      });
    }
    const DeviceScope scope(device, name_);
    check_cuda(launch(), name_);
  }

 private:
  Array described(const py::dict& about, const char* argument) const {
    if (about.contains("mask") && !about["mask"].is_none()) {
      type_error(std::string(argument) + " is masked, expected an array without a mask");
    }
    const auto data = about["data"].cast<std::pair<std::uintptr_t, bool>>();
    Array a{argument,
            about["shape"].cast<std::vector<i64>>(),
            py::dtype::from_args(about["typestr"]),
            data.first,
            !data.second,
            true};
    if (!about.contains("strides") || about["strides"].is_none()) return a;
    const auto strides = about["strides"].cast<std::vector<i64>>();
    if (strides.size() != a.shape.size()) throw py::cast_error("as many strides as axes");
    i64 expected = a.dtype.itemsize();
    for (std::size_t axis = a.shape.size(); axis-- > 0; expected *= a.shape[axis]) {
      if (a.shape[axis] != 1 && strides[axis] != expected) a.contiguous = false;
    }
    return a;
  }

  static std::string dtype_text(const Array& a) {
    return std::string(a.argument) + " has dtype " + py::str(a.dtype).cast<std::string>() + ", expected ";
  }

  template <class T>
  void check_layout(const Array& a, const std::vector<i64>& shape) const {
    const py::dtype expected = py::dtype::of<T>();
    if (!a.dtype.equal(expected)) type_error(dtype_text(a) + py::str(expected).template cast<std::string>());
    require(a.shape == shape, [&] {
      return std::string(a.argument) + " has shape " + shape_text(a.shape) + ", expected " + shape_text(shape);
    });
    require(a.contiguous || a.empty(),
            [&] { return std::string(a.argument) + " is not contiguous, expected a C-contiguous array"; });
    require(a.data % alignof(T) == 0, [&] { return std::string(a.argument) + " is not aligned to its element size"; });
  }

  int device_of(const Array& a) const {
    cudaPointerAttributes about;
    check_cuda(cudaPointerGetAttributes(&about, reinterpret_cast<const void*>(a.data)), name_);
    require(about.type == cudaMemoryTypeDevice || about.type == cudaMemoryTypeManaged,
            [&] { return std::string(a.argument) + " is not in a device's memory"; });
    return about.device;
  }

  std::string name_;
  bool is_double_ = false;
  std::vector<const Array*> arrays_;  // those that a kernel sees
};

}  // namespace jadro::cuda
