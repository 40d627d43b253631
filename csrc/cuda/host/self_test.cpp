// Kernels that hold the stand-in of the runtime to what it promises: each returns an array that its test knows, or the
// error that it must end in.
#include "cuda/host/self_test.h"

#include "cuda/launch.h"

namespace jadro::cuda::host {
namespace {

// Reverses the block through shared memory, with two barriers a round, then adds over a warp.
void reverse_kernel(int* out) {
  int* const shared = cuda::dynamic_shared<int>();
  const int t = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  int mine = t + 1000 * static_cast<int>(blockIdx.x);
  for (int round = 0; round < 3; ++round) {
    shared[t] = mine;
    __syncthreads();
    mine = shared[n - 1 - t];
    __syncthreads();
  }
  for (int mask = 16; mask > 0; mask /= 2) mine += __shfl_xor_sync(~0u, mine, mask);
  out[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

// Each block writes, and after the grid's barrier reads what the last one wrote.
void together_kernel(int* out) {
  out[blockIdx.x] = static_cast<int>(blockIdx.x) + 7;
  host::wait_for_grid();
  if (threadIdx.x == 0) out[gridDim.x + blockIdx.x] = out[gridDim.x - 1 - blockIdx.x];
}

void votes_kernel(int* out) {
  if (threadIdx.x >= 32) return;  // the second warp is gone
  out[threadIdx.x] = static_cast<int>(__ballot_sync(~0u, threadIdx.x % 3 == 0));
}

void lost_kernel(int*) {
  if (threadIdx.x == 5) {
    host::wait_for_grid();
  } else {
    __syncthreads();
  }
}

void overrun_kernel(int*) { cuda::dynamic_shared<int>()[blockDim.x] = 1; }

// Thread 0 reads what the last one writes, without a barrier.
void race_kernel(int* out) {
  int* const shared = cuda::dynamic_shared<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

}  // namespace

cudaError_t self_test(const char* name, int* out) {
  const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
  constexpr std::size_t kShared = 64 * sizeof(int);
  if (is("reverse")) return launch(reverse_kernel, dim3(2), dim3(64), kShared, nullptr, out);
  if (is("together")) return launch_together(together_kernel, dim3(3), dim3(64), 0, nullptr, out);
  if (is("votes")) return launch(votes_kernel, dim3(1), dim3(64), 0, nullptr, out);
  if (is("lost")) return launch_together(lost_kernel, dim3(1), dim3(64), 0, nullptr, out);
  if (is("overrun")) return launch(overrun_kernel, dim3(1), dim3(64), kShared, nullptr, out);
  if (is("race")) return launch(race_kernel, dim3(1), dim3(64), kShared, nullptr, out);
  return cudaErrorInvalidValue;
}

}  // namespace jadro::cuda::host
