#pragma once

#include <string>

#include "bindings/arrays.h"

namespace jadro {

// "rnn_tanh", "rnn_relu", "lstm" or "gru"; raises for another name.
Cell rnn_cell(const Call& call, const std::string& name);

}  // namespace jadro
