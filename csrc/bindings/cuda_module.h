#pragma once

#include <pybind11/pybind11.h>

namespace jadro::cuda {

void bind_pool2d(pybind11::module_& m);

}  // namespace jadro::cuda
