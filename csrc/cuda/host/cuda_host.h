// A stand-in for the CUDA runtime under which the kernels, compiled by the C++ compiler, run on the CPU.
//
// Threads are plain calls; one that reaches a barrier keeps its stack, as a fiber, until the others are there. Blocks
// run one after the other, or all at once where they meet at a grid barrier. Shared memory is dynamic only, and filled
// with NaN before a block starts. A barrier that some thread never reaches, and a write behind shared memory, end the
// launch with an error. All is done when a launch returns, so that streams mean nothing.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidValue,
  cudaErrorInvalidConfiguration,
  cudaErrorNoDevice,
  cudaErrorInsufficientDriver,
  cudaErrorLaunchFailure,
  cudaErrorCooperativeLaunchTooLarge,
};
enum cudaMemoryType { cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice, cudaMemcpyDeviceToHost };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
using cudaStream_t = struct HostStream*;

const char* cudaGetErrorString(cudaError_t error);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* about, const void*) {
  return *about = {cudaMemoryTypeDevice, 0}, cudaSuccess;
}
// A small device, so that small problems take several blocks and no problem needs many fibers.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  return *value = attribute == cudaDevAttrMultiProcessorCount ? 5 : 64 << 10, cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t) {
  return std::memset(data, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_row, const void* from, std::size_t from_row,
                                     std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t) {
  for (std::size_t i = 0; i < height; ++i) {
    std::memcpy(static_cast<char*>(to) + i * to_row, static_cast<const char*>(from) + i * from_row, width);
  }
  return cudaSuccess;
}

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

namespace jadro::cuda::host {

// Runs body() once for each thread; `together` with all blocks at once.
cudaError_t run(dim3 blocks, dim3 threads, std::size_t shared, bool together, const std::function<void()>& body);

// How many blocks may run at once, as on a card that others use.
void set_room(unsigned blocks);

// Which thread goes first, the first or the last. Kernels give the same bits either way.
void set_backward(bool backward);

void* dynamic_shared();
void wait_for_block();
void wait_for_grid();
void wait_for_warp();
std::uint64_t* warp_slots();  // 32 bytes for each lane

inline unsigned lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }

// all[i]: what lane i hands in; every lane of the warp must call.
template <std::size_t kWords>
void share(const std::uint32_t (&mine)[kWords], std::uint32_t (&all)[32][kWords]) {
  static_assert(kWords <= 8, "a slot holds 32 bytes");
  std::memcpy(warp_slots() + 4 * lane(), mine, sizeof mine);
  wait_for_warp();
  for (unsigned i = 0; i < 32; ++i) std::memcpy(all[i], warp_slots() + 4 * i, sizeof mine);
  wait_for_warp();
}

// What lane `from` hands in; every lane of the warp must call.
template <class T>
T exchange(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t), "a slot holds 8 bytes");
  std::memcpy(warp_slots() + lane(), &value, sizeof value);
  wait_for_warp();
  std::memcpy(&value, warp_slots() + from, sizeof value);
  wait_for_warp();
  return value;
}

}  // namespace jadro::cuda::host

inline void __syncthreads() { jadro::cuda::host::wait_for_block(); }
inline void __syncwarp() { jadro::cuda::host::wait_for_warp(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return jadro::cuda::host::exchange(value, jadro::cuda::host::lane() ^ mask);
}

inline unsigned __ballot_sync(unsigned, int predicate) {
  namespace host = jadro::cuda::host;
  const std::uint64_t mine = predicate != 0;
  std::memcpy(host::warp_slots() + host::lane(), &mine, sizeof mine);
  host::wait_for_warp();
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; ++i) votes |= static_cast<unsigned>(host::warp_slots()[i] & 1) << i;
  host::wait_for_warp();
  return votes;
}

inline int __ffs(int word) { return __builtin_ffs(word); }
