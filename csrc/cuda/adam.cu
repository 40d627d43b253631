// The step of Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
#include <cmath>

#include "cuda/adam.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

constexpr int kMost = 64;            // parameters of a launch: what fits in 4 KB of arguments
constexpr i64 kEach = 4 * kThreads;  // elements of a block

template <class T>
struct Parameters {
  AdamParameter<T> of[kMost];
  u32 first[kMost];  // the first block of each
  int count;
};

template <class T>
__global__ void adam_kernel(AdamStep<T> s, Parameters<T> all) {
  int low = 0, high = all.count;  // first[low] <= block < first[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (all.first[middle] <= blockIdx.x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const AdamParameter<T>& a = all.of[low];
  const i64 begin = static_cast<i64>(blockIdx.x - all.first[low]) * kEach, end = min(begin + kEach, a.n);
  for (i64 i = begin + threadIdx.x; i < end; i += kThreads) {
    const T p = a.p[i] * s.shrink;
    const T g = a.g[i] + s.decay * p;
    const T m = s.beta1 * a.m[i] + s.alpha1 * g;
    const T v = s.beta2 * a.v[i] + s.alpha2 * g * g;
    a.m[i] = m;
    a.v[i] = v;
    a.p[i] = p - s.rate * m / (std::sqrt(v) / s.root + s.eps);
  }
}

}  // namespace

template <class T>
cudaError_t adam_step(const AdamStep<T>& step, const AdamParameter<T>* parameters, i64 count, cudaStream_t stream) {
  for (i64 next = 0; next < count;) {
    Parameters<T> all{};
    i64 blocks = 0;
    for (; next < count && all.count < kMost; ++next) {
      if (parameters[next].n == 0) continue;
      all.of[all.count] = parameters[next];
      all.first[all.count++] = static_cast<u32>(blocks);
      blocks += ceil_div(parameters[next].n, kEach);
    }
    if (blocks == 0) continue;
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    const cudaError_t error =
        launch(adam_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, step, all);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

template cudaError_t adam_step(const AdamStep<float>&, const AdamParameter<float>*, i64, cudaStream_t);
template cudaError_t adam_step(const AdamStep<double>&, const AdamParameter<double>*, i64, cudaStream_t);

}  // namespace jadro::cuda
