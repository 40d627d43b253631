// Average pooling of one to three axes: a thread an output, a block where windows are large; backward a thread a place,
// which sums over the windows that see it.
#include "cuda/avg_pool.h"
#include "cuda/float16.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

constexpr i64 kLarge = 1024;  // places of a window that are worth a block

// The problem with the windows that kernels know.
struct Problem {
  i64 planes;
  Windows3 windows;
  bool padding_counts;
  i64 divisor;

  explicit Problem(const AvgPoolProblem& p)
      : planes(p.planes),
        windows{along(p.d), along(p.h), along(p.w)},
        padding_counts(p.padding_counts),
        divisor(p.divisor) {}

 private:
  static Windows along(const AvgPoolWindows& a) { return {a.in, a.out, a.kernel, a.stride, a.before, a.after, 1}; }
};

__device__ i64 count_of(const Problem& p, const Windows& w, i64 o) {
  const Range places = p.padding_counts ? w.window(o) : w.inside(o);
  return places.end - places.begin;
}

// A sum that carries what its rounding took away (Kahan 1965).
template <class T>
struct CarriedSum {
  T value = 0, lost = 0;

  __device__ void add(T v) {
    const T next = v - lost, total = value + next;
    lost = (total - value) - next;
    if (lost != lost) lost = 0;  // infinity has no rounding
    value = total;
  }
};

// kGroup threads, one or a block, make an output.
template <int kGroup, class T>
__global__ void forward_kernel(Problem p, const T* x, T* y) {
  const Windows &d = p.windows.d, &h = p.windows.h, &w = p.windows.w;
  const i64 total = p.planes * p.windows.out(), step = static_cast<i64>(gridDim.x) * blockDim.x / kGroup;
  const i64 place = threadIdx.x % kGroup;
  for (i64 i = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / kGroup; i < total; i += step) {
    const i64 ow = i % w.out, oh = i / w.out % h.out, od = i / w.out / h.out % d.out;
    const Range depths = d.inside(od), rows = h.inside(oh), columns = w.inside(ow);
    const T* const plane = x + i / p.windows.out() * p.windows.in();
    CarriedSum<Sum<T>> sum;
    for (i64 a = depths.begin; a < depths.end; ++a) {
      for (i64 b = rows.begin; b < rows.end; ++b) {
        const T* const row = plane + (a * h.in + b) * w.in;
        for (i64 c = columns.begin + place; c < columns.end; c += kGroup) sum.add(static_cast<Sum<T>>(row[c]));
      }
    }
    Sum<T> value = sum.value;
    if constexpr (kGroup > 1) value = group_reduce<kGroup>(value, Add{}, dynamic_shared<Sum<T>>());
    const i64 count = p.divisor ? p.divisor : count_of(p, d, od) * count_of(p, h, oh) * count_of(p, w, ow);
    if (place == 0) y[i] = static_cast<T>(value / static_cast<Sum<T>>(count));
  }
}

template <class T>
__global__ void backward_kernel(Problem p, const T* dy, T* dx) {
  const Windows &d = p.windows.d, &h = p.windows.h, &w = p.windows.w;
  const i64 total = p.planes * p.windows.in(), step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += step) {
    const Range depths = d.over(i / w.in / h.in % d.in), rows = h.over(i / w.in % h.in), columns = w.over(i % w.in);
    const T* const plane = dy + i / p.windows.in() * p.windows.out();
    Sum<T> sum = 0;
    for (i64 a = depths.begin; a < depths.end; ++a) {
      for (i64 b = rows.begin; b < rows.end; ++b) {
        const i64 many = p.divisor ? p.divisor : count_of(p, d, a) * count_of(p, h, b);
        for (i64 c = columns.begin; c < columns.end; ++c) {
          const i64 count = p.divisor ? many : many * count_of(p, w, c);
          sum += static_cast<Sum<T>>(plane[(a * h.out + b) * w.out + c]) / static_cast<Sum<T>>(count);
        }
      }
    }
    dx[i] = static_cast<T>(sum);
  }
}

}  // namespace

template <class T>
cudaError_t avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y, cudaStream_t stream) {
  const Problem p(problem);
  const i64 total = p.planes * p.windows.out();
  if (total == 0) return cudaSuccess;
  // A block an output where its rows are long enough for all threads.
  const bool large = p.windows.in() / p.windows.out() >= kLarge && p.windows.w.in / p.windows.w.out >= kThreads / 4;
  const auto kernel = large ? forward_kernel<kThreads, T> : forward_kernel<1, T>;
  return launch(kernel, dim3(blocks_for(large ? total * kThreads : total)), dim3(kThreads),
                kThreads / 32 * sizeof(Sum<T>), stream, p, x, y);
}

template <class T>
cudaError_t avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx, cudaStream_t stream) {
  const Problem p(problem);
  const i64 total = p.planes * p.windows.in();
  if (total == 0) return cudaSuccess;
  return launch(backward_kernel<T>, dim3(blocks_for(total)), dim3(kThreads), 0, stream, p, dy, dx);
}

#define JADRO_AVG_POOL(T)                                                                   \
  template cudaError_t avg_pool_forward(const AvgPoolProblem&, const T*, T*, cudaStream_t); \
  template cudaError_t avg_pool_backward(const AvgPoolProblem&, const T*, T*, cudaStream_t);
JADRO_AVG_POOL(float)
JADRO_AVG_POOL(double)
JADRO_AVG_POOL(Half)
JADRO_AVG_POOL(Bfloat16)
#undef JADRO_AVG_POOL

}  // namespace jadro::cuda
