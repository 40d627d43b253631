// Softmax and its logarithm along an axis: a warp or a block holds a row where the axis is the last, a block reads it
// again where it is long, and else a thread has a row, whose neighbours read what is next to it.
#include "cuda/math.h"
#include "cuda/rows.h"
#include "cuda/softmax.h"

namespace jadro::cuda {
namespace {

template <int kGroup, class T>
__global__ void held_forward_kernel(Softmax s, const T* x, T* y) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  const int n = static_cast<int>(s.n);
  const bool packed = rows_on_packs(s.n, x, y);
  for_rows<kGroup>(s.outer, [&](i64 row) {
    HeldRow<kGroup, T> held;
    held.load(x + row * n, n, packed);
    S peak = -INFINITY, sum = 0;
    held.each(n, [&](S v, int) { peak = Larger{}(v, peak); });
    peak = group_reduce<kGroup>(peak, Larger{}, shared);
    held.each(n, [&](S& v, int) {
      const S e = std::exp(v - peak);
      sum += e;
      v = s.log ? v - peak : e;
    });
    sum = group_reduce<kGroup>(sum, Add{}, shared);
    const S log_sum = s.log ? std::log(sum) : S(0);
    held.store(y + row * n, n, packed, [&](S v, int) { return s.log ? v - log_sum : v / sum; });
  });
}

// dx = y (dy - sum(dy y)), of the logarithm dy - exp(y) sum(dy)
template <int kGroup, class T>
__global__ void held_backward_kernel(Softmax s, const T* dy, const T* y, T* dx) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  const int n = static_cast<int>(s.n);
  const bool packed = rows_on_packs(s.n, dy, y, dx);
  for_rows<kGroup>(s.outer, [&](i64 row) {
    HeldRow<kGroup, T> g, v;
    g.load(dy + row * n, n, packed);
    v.load(y + row * n, n, packed);
    S sum = 0;
#pragma unroll
    for (int i = 0; i < g.kItems; ++i) sum += s.log ? g.v[i] : g.v[i] * v.v[i];
    sum = group_reduce<kGroup>(sum, Add{}, shared);
#pragma unroll
    for (int i = 0; i < g.kItems; ++i) g.v[i] = s.log ? g.v[i] - std::exp(v.v[i]) * sum : v.v[i] * (g.v[i] - sum);
    g.store(dx + row * n, n, packed, [](S d, int) { return d; });
  });
}

// f(the first element of a row, the thread's place in the group) for the rows of a group of kGroup threads.
template <int kGroup, class F>
__device__ void for_places(const Softmax& s, F f) {
  for_rows<kGroup>(s.outer * s.inner, [&](i64 row) {
    f(row / s.inner * s.n * s.inner + row % s.inner, static_cast<int>(threadIdx.x) % kGroup);
  });
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
  for_places<kGroup>(s, [&](i64 row, int place) {
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

template <int kGroup, class T>
__global__ void backward_kernel(Softmax s, const T* dy, const T* y, T* dx) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  for_places<kGroup>(s, [&](i64 row, int place) {
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

template <class T, class Kernel, class... Arguments>
cudaError_t run(const Softmax& s, cudaStream_t stream, Kernel by_threads, Kernel warp, Kernel block, Kernel longer,
                Arguments... arguments) {
  if (s.outer * s.n * s.inner == 0) return cudaSuccess;
  if (s.inner == 1) return launch_rows<T>(s.outer, s.n, stream, warp, block, longer, s, arguments...);
  return launch(by_threads, dim3(blocks_for(s.outer * s.inner)), dim3(kThreads), 0, stream, s, arguments...);
}

}  // namespace

template <class T>
cudaError_t softmax_forward(const Softmax& s, const T* x, T* y, cudaStream_t stream) {
  return run<T>(s, stream, forward_kernel<1, T>, held_forward_kernel<32, T>, held_forward_kernel<kThreads, T>,
                forward_kernel<kThreads, T>, x, y);
}

template <class T>
cudaError_t softmax_backward(const Softmax& s, const T* dy, const T* y, T* dx, cudaStream_t stream) {
  return run<T>(s, stream, backward_kernel<1, T>, held_backward_kernel<32, T>, held_backward_kernel<kThreads, T>,
                backward_kernel<kThreads, T>, dy, y, dx);
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
