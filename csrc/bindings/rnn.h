#pragma once

#include <string>

#include "bindings/arrays.h"
#include "core/rnn_layout.h"

namespace jadro {

// "rnn_tanh", "rnn_relu", "lstm", "gru", "lstm_coupled" or "gru_reset_before"; raises for another name.
Cell rnn_cell(const Call& call, const std::string& name);
// The vanilla cell of "tanh" or "relu"; raises for another name.
Cell vanilla_cell(const Call& call, const std::string& nonlinearity);

// What _core.RnnOptions holds; the sizes of its arrays are not known yet.
struct RnnCallOptions {
  i64 layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
  RnnSettings settings;
};

// Raises where a cell does not have an option, or the sizes are none.
RnnSizes rnn_sizes(const Call& call, Cell cell, i64 steps, i64 batch, i64 input, i64 hidden, i64 output,
                   const RnnCallOptions& o);
// The parameters of all layers and directions, of the shapes that they must have; `argument` names them.
std::vector<std::vector<i64>> rnn_parameter_shapes(const RnnSizes& s);

}  // namespace jadro
