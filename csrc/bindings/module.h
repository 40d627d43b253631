#pragma once

#include <pybind11/pybind11.h>

namespace jadro {

void bind_runtime(pybind11::module_& m);
void bind_gemm(pybind11::module_& m);
void bind_rnn(pybind11::module_& m);

}  // namespace jadro
