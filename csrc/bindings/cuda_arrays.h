// arrays.h for the CUDA module: an array is whatever has a __cuda_array_interface__ (version 3). An array that a kernel
// sees is C-contiguous, aligned, on the device of the call's first array, and of the dtype and shape that the call
// says; anything else raises before any work. Compiled for the host, arrays are those with an __array_interface__.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/cuda_scratch.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

#if defined(JADRO_CUDA_HOST)
constexpr const char *kInterface = "__array_interface__", *kArrayType = "NumPy";
#else
constexpr const char *kInterface = "__cuda_array_interface__", *kArrayType = "CuPy";
#endif

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
    switched_ = device != before_;  // setting a device makes a context there
    if (switched_) check_cuda(cudaSetDevice(device), call);
  }
  ~DeviceScope() {
    if (switched_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool switched_ = false;
};

// bfloat16 has no dtype of NumPy's own: its interface says two bytes of anything.
template <class T>
py::dtype dtype_of() {
  if constexpr (std::is_same_v<T, Half>) return py::dtype("float16");
  if constexpr (std::is_same_v<T, Bfloat16>) return py::dtype("V2");
  if constexpr (sizeof(T) != 2) return py::dtype::of<T>();
}

// What the interface says of one argument.
struct Array {
  std::string argument;
  std::vector<i64> shape;
  py::dtype dtype;
  std::uintptr_t data;
  bool writable, contiguous;

  bool empty() const { return size() == 0; }
  i64 size() const {
    i64 product = 1;
    for (i64 axis : shape) product *= axis;
    return product;
  }
};

using Given = std::optional<py::object>;  // an argument that may be None
using Maybe = std::optional<Array>;

// One call's arrays: knows the call's name, its dtype, and the arrays that its kernel sees.
class Call : public jadro::Call {
 public:
  explicit Call(const char* name) : jadro::Call(name), name_(name) {}
  const std::string& name() const { return name_; }

  Array read(const py::object& given, const std::string& argument) const {
    if (is_cupy(given) && given.attr("dtype").attr("kind").cast<std::string>() != "V") return seen(given, argument);
    const py::object about = py::getattr(given, kInterface, py::none());
    if (about.is_none()) {
      type_error(argument + " is a " + Py_TYPE(given.ptr())->tp_name + ", expected a " + kArrayType + " array");
    }
    try {
      return described(about, argument);
    } catch (const py::cast_error&) {
      type_error(argument + " has a " + kInterface + " that cannot be read");
    }
  }
  Maybe read(const Given& given, const std::string& argument) const {
    return given ? std::optional(read(*given, argument)) : std::nullopt;
  }
  std::vector<Array> read(const std::vector<py::object>& given, const std::string& argument) const {
    std::vector<Array> arrays;
    for (std::size_t i = 0; i < given.size(); ++i) {
      arrays.push_back(read(given[i], argument + "[" + std::to_string(i) + "]"));
    }
    return arrays;
  }

  // The dtype of the call: float32 or float64, or where a kernel has them also a 16-bit one.
  void set_dtype(const Array& a) {
    if (!known<float>(a) && !known<double>(a)) type_error(dtype_text(a) + "float32 or float64");
  }
  void set_any_dtype(const Array& a) {
    if (!known<float>(a) && !known<double>(a) && !known<Half>(a) && !known<Bfloat16>(a)) {
      type_error(dtype_text(a) + "float16, bfloat16, float32 or float64");
    }
  }

  // Calls f with a value of the call's floating type.
  template <class F>
  void with_dtype(F&& f) const {
    if (kind_ == Kind::kDouble) {
      f(double{});
    } else {
      f(float{});
    }
  }
  template <class F>
  void with_any_dtype(F&& f) const {
    if (kind_ == Kind::kHalf) return f(Half{});
    if (kind_ == Kind::kBfloat16) return f(Bfloat16{});
    with_dtype(f);
  }

  void check_rank(const Array& a, std::size_t rank) const {
    jadro::Call::check_rank(a.shape, a.argument, static_cast<i64>(rank));
  }

  // Pointer to an input of the call's dtype, with the shape checked. The array must outlive the call.
  template <class T>
  const T* in(const Array& a, const std::vector<i64>& shape) {
    check_layout<T>(a, shape);
    if (!a.empty()) arrays_.push_back(&a);
    return reinterpret_cast<const T*>(a.data);
  }
  template <class T>
  const T* in(const Maybe& a, const std::vector<i64>& shape) {
    return a ? in<T>(*a, shape) : nullptr;
  }
  template <class T>
  T* out(const Array& a, const std::vector<i64>& shape) {
    require(a.writable, [&] { return a.argument + " is read-only, expected a writable array"; });
    return const_cast<T*>(in<T>(a, shape));
  }
  template <class T>
  T* out(const Maybe& a, const std::vector<i64>& shape) {
    return a ? out<T>(*a, shape) : nullptr;
  }

  // Runs work(scratch memory of that many bytes) without the GIL on the device of the arrays, once they are known to
  // share one; RuntimeError where it fails. Does nothing where all arrays are empty.
  template <class Work>
  void run(i64 bytes, Work&& work) const {
    if (arrays_.empty()) return;
    const int device = device_of(*arrays_[0]);
    for (const Array* a : arrays_) {
      const int other = device_of(*a);
      require(other == device, [&] {
        return a->argument + " is on cuda:" + std::to_string(other) + ", expected cuda:" + std::to_string(device) +
               " like " + arrays_[0]->argument;
      });
    }
    const DeviceScope scope(device, name_);
    const Scratch scratch(bytes);
    cudaError_t error;
    {
      const py::gil_scoped_release unlocked;
      error = work(scratch.data());
    }
    check_cuda(error, name_);
    require(scratch.intact(), [] { return "scratch memory was overrun"; });
  }
  template <class Work>
  void run(Work&& work) const {
    run(0, [&](void*) { return work(); });
  }

 private:
  static bool is_cupy(const py::object& given) {
#if defined(JADRO_CUDA_HOST)
    static_cast<void>(given);
    return false;
#else
    PyObject* const cupy = PyDict_GetItemString(PyImport_GetModuleDict(), "cupy");
    return cupy && py::getattr(cupy, "ndarray", py::none()).is(py::type::handle_of(given));
#endif
  }
  // What CuPy's own attributes say: its interface is a dict that takes ten times as long to make.
  static Array seen(const py::object& given, const std::string& argument) {
    return {argument,
            given.attr("shape").cast<std::vector<i64>>(),
            py::reinterpret_borrow<py::dtype>(py::object(given.attr("dtype"))),
            given.attr("data").attr("ptr").cast<std::uintptr_t>(),
            true,
            given.attr("flags").attr("c_contiguous").cast<bool>()};
  }
  Array described(const py::dict& about, const std::string& argument) const {
    if (about.contains("mask") && !about["mask"].is_none()) {
      type_error(argument + " is masked, expected an array without a mask");
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

  enum class Kind { kFloat, kDouble, kHalf, kBfloat16 };
  template <class T>
  bool known(const Array& a) {
    if (!a.dtype.equal(dtype_of<T>())) return false;
    kind_ = std::is_same_v<T, double>     ? Kind::kDouble
            : std::is_same_v<T, Half>     ? Kind::kHalf
            : std::is_same_v<T, Bfloat16> ? Kind::kBfloat16
                                          : Kind::kFloat;
    return true;
  }

  static std::string dtype_text(const Array& a) {
    return a.argument + " has dtype " + name_of(a.dtype) + ", expected ";
  }
  static std::string name_of(const py::dtype& dtype) {
    return dtype.equal(dtype_of<Bfloat16>()) ? "bfloat16" : py::str(dtype).cast<std::string>();
  }

  template <class T>
  void check_layout(const Array& a, const std::vector<i64>& shape) const {
    const py::dtype expected = dtype_of<T>();
    if (!a.dtype.equal(expected)) type_error(dtype_text(a) + name_of(expected));
    require(a.shape == shape,
            [&] { return a.argument + " has shape " + shape_text(a.shape) + ", expected " + shape_text(shape); });
    require(a.contiguous || a.empty(),
            [&] { return a.argument + " is not contiguous, expected a C-contiguous array"; });
    require(a.data % alignof(T) == 0, [&] { return a.argument + " is not aligned to its element size"; });
  }

  int device_of(const Array& a) const {
    cudaPointerAttributes about;
    check_cuda(cudaPointerGetAttributes(&about, reinterpret_cast<const void*>(a.data)), name_);
    require(about.type == cudaMemoryTypeDevice || about.type == cudaMemoryTypeManaged,
            [&] { return a.argument + " is not in a device's memory"; });
    return about.device;
  }

  std::string name_;
  Kind kind_ = Kind::kFloat;
  std::vector<const Array*> arrays_;  // those that a kernel sees
};

}  // namespace jadro::cuda
