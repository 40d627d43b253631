#include "bindings/cuda_module.h"

#include "bindings/cuda_arrays.h"

namespace jadro::cuda {
namespace {

int device_count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return 0;
  }
  check_cuda(error, "device_count");
  return count;
}

}  // namespace
}  // namespace jadro::cuda

PYBIND11_MODULE(_cuda, m, pybind11::mod_gil_not_used()) {
  m.attr("__version__") = JADRO_VERSION;
  m.def("device_count", &jadro::cuda::device_count);
  jadro::cuda::bind_pool2d(m);
}
