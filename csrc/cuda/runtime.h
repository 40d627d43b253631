// The CUDA runtime or, for tests without a GPU, its stand-in on the CPU.
#pragma once

#if defined(JADRO_CUDA_HOST)
#include "cuda/host/cuda_host.h"
#else
#include <cuda_runtime_api.h>
#endif
