#include "bindings/cuda_module.h"

#include "bindings/cuda_arrays.h"

#if defined(JADRO_CUDA_HOST)
#include "cuda/host/self_test.h"
#endif

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

void bind(py::module_& m) {
  m.attr("__version__") = JADRO_VERSION;
  m.def("device_count", &device_count);
  bind_activation(m);
  bind_avg_pool(m);
  bind_batch_norm(m);
  bind_conv2d(m);
  bind_cross_entropy(m);
  bind_dropout(m);
  bind_embedding(m);
  bind_gemm(m);
  bind_group_norm(m);
  bind_optim(m);
  bind_pool2d(m);
  bind_rnn(m);
  bind_rnn_options(m);
  bind_softmax(m);
}

}  // namespace
}  // namespace jadro::cuda

#if defined(JADRO_CUDA_HOST)
namespace py = pybind11;

PYBIND11_MODULE(_cuda_host, m) {
  namespace cuda = jadro::cuda;
  cuda::bind(m);
  m.def("set_backward", &cuda::host::set_backward, py::arg("backward"));
  m.def("set_room", &cuda::host::set_room, py::arg("blocks"));
  m.def("self_test", [](const std::string& name, py::array_t<int>& out) {
    cuda::check_cuda(cuda::host::self_test(name.c_str(), out.mutable_data()), name);
  });
}
#else
PYBIND11_MODULE(_cuda, m, pybind11::mod_gil_not_used()) { jadro::cuda::bind(m); }
#endif
