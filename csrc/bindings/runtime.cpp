#include <stdexcept>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"

namespace jadro {
namespace {

py::array empty(const std::vector<i64>& shape, const py::object& type) {
  const py::dtype dtype = py::dtype::from_args(type);
  if (std::string("biufc").find(dtype.kind()) == std::string::npos) {
    throw py::type_error("empty: dtype is " + py::str(dtype).cast<std::string>() + ", expected numbers or booleans");
  }
  std::size_t bytes = static_cast<std::size_t>(dtype.itemsize());
  for (i64 extent : shape) {
    if (extent < 0) throw py::value_error("empty: shape is " + shape_text(shape) + ", expected no negative size");
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes)) throw std::bad_alloc();
  }
  void* block = keep_allocate(bytes);
  return py::array(dtype, shape, block, py::capsule(block, keep_free));
}

void set_threads(int n) {
  if (n < 1) throw py::value_error("set_num_threads: n is " + std::to_string(n) + ", expected at least 1");
  set_num_threads(n);
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.def("empty", &empty, py::arg("shape"), py::arg("dtype"));
  m.def("set_num_threads", &set_threads, py::arg("n"));
  m.def("get_num_threads", &num_threads);
  m.def("isa", [] { return kernels().isa; });
  m.def("available_isas", &available_isas);
  m.def("set_isa", &set_isa, py::arg("name"));
  m.def("verbose", [](bool on) { verbose_on.store(on); }, py::arg("on"));
  m.def("kept_memory", [] {
    const KeptMemory memory = kept_memory();
    return py::make_tuple(memory.in_use, memory.kept);
  });
  m.def("release_memory", &release_memory);
}

}  // namespace jadro
