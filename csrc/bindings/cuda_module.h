#pragma once

#include <pybind11/pybind11.h>

namespace jadro::cuda {

void bind_activation(pybind11::module_& m);
void bind_avg_pool(pybind11::module_& m);
void bind_batch_norm(pybind11::module_& m);
void bind_conv2d(pybind11::module_& m);
void bind_cross_entropy(pybind11::module_& m);
void bind_dropout(pybind11::module_& m);
void bind_embedding(pybind11::module_& m);
void bind_gemm(pybind11::module_& m);
void bind_group_norm(pybind11::module_& m);
void bind_optim(pybind11::module_& m);
void bind_pool2d(pybind11::module_& m);
void bind_rnn(pybind11::module_& m);
void bind_rnn_options(pybind11::module_& m);
void bind_softmax(pybind11::module_& m);

}  // namespace jadro::cuda
