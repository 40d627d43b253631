#include "bindings/module.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.attr("__version__") = JADRO_VERSION;
  jadro::bind_runtime(m);
  jadro::bind_tape(m);
  jadro::bind_gemm(m);
  jadro::bind_avg_pool(m);
  jadro::bind_batch_norm(m);
  jadro::bind_group_norm(m);
  jadro::bind_pool2d(m);
  jadro::bind_conv2d(m);
  jadro::bind_activation(m);
  jadro::bind_dropout(m);
  jadro::bind_cross_entropy(m);
  jadro::bind_embedding(m);
  jadro::bind_optim(m);
  jadro::bind_softmax(m);
  jadro::bind_rnn(m);
  jadro::bind_rnn_options(m);
  jadro::bind_rnn_stepper(m);
}
