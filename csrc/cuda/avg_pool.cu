// Average pooling of one to three axes: a thread an output, a block where windows are large; backward a thread a place,
// which sums over the windows that see it.
#include <algorithm>

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

// What the kernels of images know; the dilation is 1.
struct ImageProblem {
  i64 planes;
  ImageWindows windows;
  bool padding_counts;
  int divisor;

  explicit ImageProblem(const Problem& p)
      : planes(p.planes), windows(p.windows), padding_counts(p.padding_counts), divisor(static_cast<int>(p.divisor)) {}
  template <class S>
  __device__ S count(int h, int w) const {
    if (divisor) return static_cast<S>(divisor);
    return static_cast<S>(static_cast<i64>(windows.h.count(h, padding_counts)) * windows.w.count(w, padding_counts));
  }
};

// A thread an output of each plane that its block meets; windows of kWindow by kWindow places, or, where it is 0, any.
template <class T, int kWindow>
__global__ void image_forward_kernel(ImageProblem p, const T* x, T* y) {
  const ImageWindows& s = p.windows;
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.out()) return;
  const int row = static_cast<int>(place) / s.w.out, column = static_cast<int>(place) - row * s.w.out;
  const int top = s.h.begin(row), left = s.w.begin(column);
  const int rows = kWindow ? kWindow : s.h.kernel, columns = kWindow ? kWindow : s.w.kernel;
  const Sum<T> count = p.count<Sum<T>>(row, column);
  for (i64 plane = blockIdx.y; plane < p.planes; plane += gridDim.y) {
    const T* const image = x + plane * s.in();
    CarriedSum<Sum<T>> sum;
#pragma unroll(kWindow ? kWindow : 1)
    for (int a = 0; a < rows; ++a) {
#pragma unroll(kWindow ? kWindow : 1)
      for (int b = 0; b < columns; ++b) {
        const int h = top + a, w = left + b;
        const bool inside = h >= 0 && h < s.h.in && w >= 0 && w < s.w.in;
        if (inside) sum.add(static_cast<Sum<T>>(image[h * s.w.in + w]));
      }
    }
    y[plane * s.out() + place] = static_cast<T>(sum.value / count);
  }
}

// kMost: how many windows lie over a place along an axis, at most; 0 for any number.
template <class T, int kMost>
__global__ void image_backward_kernel(ImageProblem p, const T* dy, T* dx) {
  const ImageWindows& s = p.windows;
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.in()) return;
  const int row = static_cast<int>(place) / s.w.in;
  const ImageWindows::Span h = s.h.over(row), w = s.w.over(static_cast<int>(place) - row * s.w.in);
  const int rows = kMost ? kMost : h.end - h.begin, columns = kMost ? kMost : w.end - w.begin;
  for (i64 plane = blockIdx.y; plane < p.planes; plane += gridDim.y) {
    const T* const image = dy + plane * s.out();
    Sum<T> sum = 0;
#pragma unroll(kMost ? kMost : 1)
    for (int a = 0; a < rows; ++a) {
#pragma unroll(kMost ? kMost : 1)
      for (int b = 0; b < columns; ++b) {
        const int i = h.begin + a, j = w.begin + b;
        if (i < h.end && j < w.end) sum += static_cast<Sum<T>>(image[i * s.w.out + j]) / p.count<Sum<T>>(i, j);
      }
    }
    dx[plane * s.in() + place] = static_cast<T>(sum);
  }
}

template <class T, class Kernel>
cudaError_t run_image(const ImageProblem& p, i64 elements, cudaStream_t stream, Kernel kernel, const T* from, T* to) {
  const Grid grid = grid_of_planes(p.planes, elements);
  return launch(kernel, grid.blocks, grid.threads, 0, stream, p, from, to);
}

// Whether an image has windows of neither a block's work nor numbers of more than 31 bits.
bool takes_image(const Problem& p) {
  return is_image(p.windows) && p.windows.in() <= INT32_MAX && p.windows.out() <= INT32_MAX &&
         p.windows.h.kernel * p.windows.w.kernel < kLarge && p.divisor <= INT32_MAX;
}

}  // namespace

template <class T>
cudaError_t avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y, cudaStream_t stream) {
  const Problem p(problem);
  const i64 total = p.planes * p.windows.out();
  if (total == 0) return cudaSuccess;
  if (takes_image(p)) {
    const auto is = [&](i64 window) { return p.windows.h.kernel == window && p.windows.w.kernel == window; };
    const auto kernel = is(2)   ? image_forward_kernel<T, 2>
                        : is(3) ? image_forward_kernel<T, 3>
                                : image_forward_kernel<T, 0>;
    return run_image(ImageProblem(p), p.windows.out(), stream, kernel, x, y);
  }
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
  if (takes_image(p)) {
    const ImageProblem image(p);
    const int most = std::max(image.windows.h.most_over(), image.windows.w.most_over());
    const auto kernel = most == 1   ? image_backward_kernel<T, 1>
                        : most == 2 ? image_backward_kernel<T, 2>
                                    : image_backward_kernel<T, 0>;
    return run_image(image, p.windows.in(), stream, kernel, dy, dx);
  }
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
