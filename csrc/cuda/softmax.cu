// Softmax and its logarithm along an axis: a warp a row where the axis is the last, a block where it is long, and else
// a thread a row, whose neighbours read what is next to it.
#include "cuda/float16.h"
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
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  for_rows<kGroup>(s, [&](i64 row, int place) {
    const auto at = [&](i64 k) { return static_cast<S>(x[row + k * s.inner]); };
    S peak = -INFINITY, sum = 0;
    for (i64 k = place; k < s.n; k += kGroup) peak = Larger{}(at(k), peak);
    peak = reduce<kGroup>(peak, Larger{}, shared);
    for (i64 k = place; k < s.n; k += kGroup) sum += std::exp(at(k) - peak);
    sum = reduce<kGroup>(sum, Add{}, shared);
    const S log_sum = s.log ? std::log(sum) : S(0);
    for (i64 k = place; k < s.n; k += kGroup) {
      const S v = at(k) - peak;
      y[row + k * s.inner] = static_cast<T>(s.log ? v - log_sum : std::exp(v) / sum);
    }
  });
}

// dx = y (dy - sum(dy y)), of the logarithm dy - exp(y) sum(dy)
template <int kGroup, class T>
__global__ void backward_kernel(Softmax s, const T* dy, const T* y, T* dx) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  for_rows<kGroup>(s, [&](i64 row, int place) {
    S sum = 0;
    for (i64 k = place; k < s.n; k += kGroup) {
      const S g = static_cast<S>(dy[row + k * s.inner]), v = static_cast<S>(y[row + k * s.inner]);
      sum += s.log ? g : g * v;
    }
    sum = reduce<kGroup>(sum, Add{}, shared);
    for (i64 k = place; k < s.n; k += kGroup) {
      const S g = static_cast<S>(dy[row + k * s.inner]), v = static_cast<S>(y[row + k * s.inner]);
      dx[row + k * s.inner] = static_cast<T>(s.log ? g - std::exp(v) * sum : v * (g - sum));
    }
  });
}

int group_of(const Softmax& s) { return s.inner > 1 ? 1 : s.n <= kLong ? 32 : kThreads; }

template <class T, class Kernel, class... Arguments>
cudaError_t run(const Softmax& s, cudaStream_t stream, Kernel kernel, Arguments... arguments) {
  if (s.outer * s.n * s.inner == 0) return cudaSuccess;
  return launch(kernel, dim3(blocks_for(s.outer * s.inner * group_of(s))), dim3(kThreads),
                kThreads / 32 * sizeof(Sum<T>), stream, s, arguments...);
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
template cudaError_t softmax_forward(const Softmax&, const Half*, Half*, cudaStream_t);
template cudaError_t softmax_forward(const Softmax&, const Bfloat16*, Bfloat16*, cudaStream_t);
template cudaError_t softmax_backward(const Softmax&, const Half*, const Half*, Half*, cudaStream_t);
template cudaError_t softmax_backward(const Softmax&, const Bfloat16*, const Bfloat16*, Bfloat16*, cudaStream_t);

}  // namespace jadro::cuda
