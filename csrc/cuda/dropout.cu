// Uniform random numbers and dropout, read from the stream of core/philox.h by position: the CPU's, bit for bit.
#include "core/philox.h"
#include "cuda/dropout.h"
#include "cuda/float16.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

constexpr u64 kWords = 4;  // of a block

// Calls f(word, its place in the stream, what PhiloxBlock holds) for the words [begin, end): a thread a block.
template <class F>
__device__ void for_words(u64 seed, u64 begin, u64 end, F f) {
  const u64 first = begin / kWords + static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (u64 block = first; block * kWords < end; block += static_cast<u64>(gridDim.x) * blockDim.x) {
    const PhiloxBlock words = philox(seed, block);
#pragma unroll
    for (u64 w = 0; w < kWords; ++w) {
      const u64 place = block * kWords + w;
      if (place >= begin && place < end) f(place, words, static_cast<int>(w));
    }
  }
}

template <class T>
__global__ void uniform_kernel(T* out, u64 seed, u64 begin, u64 end) {
  constexpr u64 kEach = sizeof(T) / sizeof(u32);  // words of a number
  for_words(seed, begin, end, [=](u64 place, const PhiloxBlock& words, int w) {
    if constexpr (kEach == 1) {
      out[place - begin] = philox_float(words.word[w]);
    } else if (w % 2 == 0) {
      out[(place - begin) / 2] = philox_double(words.word[w], words.word[w + 1]);
    }
  });
}

template <class T>
__global__ void dropout_kernel(const T* x, T* y, u32 threshold, Sum<T> keep, u64 seed, u64 begin, u64 end) {
  for_words(seed, begin, end, [=](u64 place, const PhiloxBlock& words, int w) {
    const Sum<T> mask = words.word[w] >> 8 >= threshold ? 1 : 0;
    y[place - begin] = static_cast<T>(static_cast<Sum<T>>(x[place - begin]) * mask / keep);
  });
}

dim3 blocks_of(u64 begin, u64 end) {
  return dim3(blocks_for(static_cast<i64>((end + kWords - 1) / kWords - begin / kWords)));
}

}  // namespace

template <class T>
cudaError_t random_uniform(T* out, i64 n, u64 seed, u64 offset, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  constexpr u64 kEach = sizeof(T) / sizeof(u32);
  const u64 begin = offset * kEach, end = begin + static_cast<u64>(n) * kEach;
  return launch(uniform_kernel<T>, blocks_of(begin, end), dim3(kThreads), 0, stream, out, seed, begin, end);
}

template <class T>
cudaError_t dropout(const T* x, T* y, i64 n, double p, u64 seed, u64 offset, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const u64 end = offset + static_cast<u64>(n);
  const Sum<T> keep = p < 1 ? static_cast<Sum<T>>(1 - p) : 1;  // nothing is kept at p = 1: 0 / 1, not 0 / 0
  return launch(dropout_kernel<T>, blocks_of(offset, end), dim3(kThreads), 0, stream, x, y,
                philox_threshold(static_cast<float>(p)), keep, seed, offset, end);
}

template cudaError_t random_uniform(float*, i64, u64, u64, cudaStream_t);
template cudaError_t random_uniform(double*, i64, u64, u64, cudaStream_t);
template cudaError_t dropout(const float*, float*, i64, double, u64, u64, cudaStream_t);
template cudaError_t dropout(const double*, double*, i64, double, u64, u64, cudaStream_t);
template cudaError_t dropout(const Half*, Half*, i64, double, u64, u64, cudaStream_t);
template cudaError_t dropout(const Bfloat16*, Bfloat16*, i64, double, u64, u64, cudaStream_t);

}  // namespace jadro::cuda
