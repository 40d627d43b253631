#include "bindings/module.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.attr("__version__") = JADRO_VERSION;
  jadro::bind_runtime(m);
  jadro::bind_gemm(m);
  jadro::bind_rnn(m);
}
