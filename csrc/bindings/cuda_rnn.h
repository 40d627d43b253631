#pragma once

#include <string>

#include "bindings/cuda_arrays.h"
#include "cuda/rnn.h"

namespace jadro::cuda {

// "auto", "persistent" or "steps"; raises for another name.
RnnAlgorithm rnn_algorithm(const Call& call, const std::string& name);

}  // namespace jadro::cuda
