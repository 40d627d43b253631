// Softmax and its logarithm along an axis: a warp a row where the axis is the last, a block where it is long, and else
// a thread a row, whose neighbours read what is next to it.
#include "cuda/math.h"
#include "cuda/reduce.h"
#include "cuda/softmax.h"

namespace jadro::cuda {
namespace {

constexpr i64 kLong = 1024;

// f(the first element of a row, the thread's place in the group) for the rows of a group of kGroup threads.
template <int kGroup, class F>
__device__ void for_rows(const Softmax& s, F f) {
  constexpr int kGroups = kThreads / kGroup;
  const int group = static_cast<int>(threadIdx.x) / kGroup, place = static_cast<int>(threadIdx.x) % kGroup;
  const i64 step = static_cast<i64>(gridDim.x) * kGroups;
  for (i64 row = static_cast<i64>(blockIdx.x) * kGroups + group; row < s.outer * s.inner; row += step) {
    f(row / s.inner * s.n * s.inner + row % s.inner, place);
  }
}

template <int kGroup, class T, class F>
__device__ T reduce(T value, F f, T* shared) {
  if constexpr (kGroup == 1) return value;
  if constexpr (kGroup > 1) return group_reduce<kGroup>(value, f, shared);
}

template <int kGroup, class T>
__global__ void forward_kernel(Softmax s, const T* x, T* y) {
  T* const shared = dynamic_shared<T>();
  for_rows<kGroup>(s, [&](i64 row, int place) {
    T peak = -INFINITY, sum = 0;
    for (i64 k = place; k < s.n; k += kGroup) peak = Larger{}(x[row + k * s.inner], peak);
    peak = reduce<kGroup>(peak, Larger{}, shared);
    for (i64 k = place; k < s.n; k += kGroup) sum += std::exp(x[row + k * s.inner] - peak);
    sum = reduce<kGroup>(sum, Add{}, shared);
    const T log_sum = s.log ? std::log(sum) : T(0);
    for (i64 k = place; k < s.n; k += kGroup) {
      const T v = x[row + k * s.inner] - peak;
      y[row + k * s.inner] = s.log ? v - log_sum : std::exp(v) / sum;
    }
  });
}

// dx = y (dy - sum(dy y)), of the logarithm dy - exp(y) sum(dy)
template <int kGroup, class T>
__global__ void backward_kernel(Softmax s, const T* dy, const T* y, T* dx) {
  T* const shared = dynamic_shared<T>();
  for_rows<kGroup>(s, [&](i64 row, int place) {
    T sum = 0;
    for (i64 k = place; k < s.n; k += kGroup) {
      const i64 i = row + k * s.inner;
      sum += s.log ? dy[i] : dy[i] * y[i];
    }
    sum = reduce<kGroup>(sum, Add{}, shared);
    for (i64 k = place; k < s.n; k += kGroup) {
      const i64 i = row + k * s.inner;
      dx[i] = s.log ? dy[i] - std::exp(y[i]) * sum : y[i] * (dy[i] - sum);
    }
  });
}

int group_of(const Softmax& s) { return s.inner > 1 ? 1 : s.n <= kLong ? 32 : kThreads; }

template <class T, class Kernel, class... Arguments>
cudaError_t run(const Softmax& s, cudaStream_t stream, Kernel kernel, Arguments... arguments) {
  if (s.outer * s.n * s.inner == 0) return cudaSuccess;
  return launch(kernel, dim3(blocks_for(s.outer * s.inner * group_of(s))), dim3(kThreads), kThreads / 32 * sizeof(T),
                stream, s, arguments...);
}

}  // namespace

template <class T>
cudaError_t softmax_forward(const Softmax& s, const T* x, T* y, cudaStream_t stream) {
  const int group = group_of(s);
  return run<T>(s, stream,
                group == 1    ? forward_kernel<1, T>
                : group == 32 ? forward_kernel<32, T>
                              : forward_kernel<kThreads, T>,
                x, y);
}

template <class T>
cudaError_t softmax_backward(const Softmax& s, const T* dy, const T* y, T* dx, cudaStream_t stream) {
  const int group = group_of(s);
  return run<T>(s, stream,
                group == 1    ? backward_kernel<1, T>
                : group == 32 ? backward_kernel<32, T>
                              : backward_kernel<kThreads, T>,
                dy, y, dx);
}

template cudaError_t softmax_forward(const Softmax&, const float*, float*, cudaStream_t);
template cudaError_t softmax_forward(const Softmax&, const double*, double*, cudaStream_t);
template cudaError_t softmax_backward(const Softmax&, const float*, const float*, float*, cudaStream_t);
template cudaError_t softmax_backward(const Softmax&, const double*, const double*, double*, cudaStream_t);

}  // namespace jadro::cuda
