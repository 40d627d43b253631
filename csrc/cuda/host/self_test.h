#pragma once

#include "cuda/runtime.h"

namespace jadro::cuda::host {

// Runs the kernel of that name, which fills out[128].
cudaError_t self_test(const char* name, int* out);

}  // namespace jadro::cuda::host
