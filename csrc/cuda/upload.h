// Host memory to the device by way of a kernel's arguments: nobody waits, the memory may go as soon as the call is
// back, and a captured graph keeps its own copy.
#pragma once

#include <cstring>

#include "cuda/launch.h"

namespace jadro::cuda {

struct UploadPiece {
  static constexpr i64 kBytes = 3584;  // arguments of a kernel are at most 4 KB
  unsigned char bytes[kBytes];
};

__global__ static void upload_kernel(UploadPiece piece, int size, unsigned char* to) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) to[i] = piece.bytes[i];
}

inline cudaError_t upload(const void* from, i64 bytes, void* to, cudaStream_t stream) {
  for (i64 at = 0; at < bytes; at += UploadPiece::kBytes) {
    UploadPiece piece;
    const i64 size = bytes - at < UploadPiece::kBytes ? bytes - at : UploadPiece::kBytes;
    std::memcpy(piece.bytes, static_cast<const unsigned char*>(from) + at, static_cast<std::size_t>(size));
    const cudaError_t error = launch(upload_kernel, dim3(1), dim3(kThreads), 0, stream, piece, static_cast<int>(size),
                                     static_cast<unsigned char*>(to) + at);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace jadro::cuda
