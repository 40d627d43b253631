// Max pooling of images and volumes, and its inverse, with the results of kernels/pool2d.h, bit for bit: the first of
// equal values wins, the first NaN beats every number, padding never wins; a window without a single place gives -inf
// and index -1. No atomics: whoever sums or is written to gathers, in the order of y.
#include <algorithm>
#include <cmath>

#include "cuda/float16.h"
#include "cuda/pool2d.h"

namespace jadro::cuda {
namespace {

// A thread computes one output of each volume that its block meets.
template <class T>
__global__ void forward_kernel(i64 planes, Windows3 s, const T* x, T* y, std::int32_t* indices) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.out()) return;
  const Range depths = s.d.inside(place / s.w.out / s.h.out), rows = s.h.inside(place / s.w.out % s.h.out);
  const Range columns = s.w.inside(place % s.w.out);
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const T* const volume = x + plane * s.in();
    Sum<T> best = -INFINITY;
    std::int32_t index = -1;
    for (i64 d = depths.begin; d < depths.end; d += s.d.dilation) {
      for (i64 h = rows.begin; h < rows.end; h += s.h.dilation) {
        for (i64 w = columns.begin; w < columns.end; w += s.w.dilation) {
          const i64 at = (d * s.h.in + h) * s.w.in + w;
          const Sum<T> v = static_cast<Sum<T>>(volume[at]);
          if (index >= 0 && (v <= best || best != best)) continue;
          best = v;
          index = static_cast<std::int32_t>(at);
        }
      }
    }
    y[plane * s.out() + place] = static_cast<T>(best);
    if (indices) indices[plane * s.out() + place] = index;
  }
}

// A thread sums one element of dx, over the windows around it in the order of y.
template <class T>
__global__ void backward_kernel(i64 planes, Windows3 s, const T* dy, const std::int32_t* indices, T* dx) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.in()) return;
  const Range depths = s.d.over(place / s.w.in / s.h.in), rows = s.h.over(place / s.w.in % s.h.in);
  const Range columns = s.w.over(place % s.w.in);
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    Sum<T> sum = 0;
    for (i64 d = depths.begin; d < depths.end; ++d) {
      for (i64 h = rows.begin; h < rows.end; ++h) {
        for (i64 w = columns.begin; w < columns.end; ++w) {
          const i64 i = plane * s.out() + (d * s.h.out + h) * s.w.out + w;
          if (indices[i] == place) sum += static_cast<Sum<T>>(dy[i]);
        }
      }
    }
    dx[plane * s.in() + place] = static_cast<T>(sum);
  }
}

// The same for images, with a window of kWindow by kWindow places, or, where it is 0, of any.
template <class T, int kWindow>
__global__ void image_forward_kernel(i64 planes, ImageWindows s, const T* x, T* y, std::int32_t* indices) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.out()) return;
  const int row = static_cast<int>(place) / s.w.out, top = s.h.begin(row);
  const int left = s.w.begin(static_cast<int>(place) - row * s.w.out);
  const int rows = kWindow ? kWindow : s.h.kernel, columns = kWindow ? kWindow : s.w.kernel;
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const T* const image = x + plane * s.in();
    Sum<T> best = -INFINITY;
    std::int32_t index = -1;
#pragma unroll(kWindow ? kWindow : 1)
    for (int a = 0; a < rows; ++a) {
#pragma unroll(kWindow ? kWindow : 1)
      for (int b = 0; b < columns; ++b) {
        const int h = top + a * s.h.dilation, w = left + b * s.w.dilation, at = h * s.w.in + w;
        const bool inside = h >= 0 && h < s.h.in && w >= 0 && w < s.w.in;
        const Sum<T> v = inside ? static_cast<Sum<T>>(image[at]) : Sum<T>(0);
        const bool wins = inside && (index < 0 || !(v <= best || best != best));
        best = wins ? v : best;
        index = wins ? at : index;
      }
    }
    y[plane * s.out() + place] = static_cast<T>(best);
    if (indices) indices[plane * s.out() + place] = index;
  }
}

// kMost: how many windows lie over a place along an axis, at most; 0 for any number.
template <class T, int kMost>
__global__ void image_backward_kernel(i64 planes, ImageWindows s, const T* dy, const std::int32_t* indices, T* dx) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= s.in()) return;
  const int row = static_cast<int>(place) / s.w.in;
  const ImageWindows::Span h = s.h.over(row), w = s.w.over(static_cast<int>(place) - row * s.w.in);
  const int rows = kMost ? kMost : h.end - h.begin, columns = kMost ? kMost : w.end - w.begin;
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const i64 first = plane * s.out();
    Sum<T> sum = 0;
#pragma unroll(kMost ? kMost : 1)
    for (int a = 0; a < rows; ++a) {
#pragma unroll(kMost ? kMost : 1)
      for (int b = 0; b < columns; ++b) {
        if (h.begin + a >= h.end || w.begin + b >= w.end) continue;
        const i64 i = first + (h.begin + a) * s.w.out + w.begin + b;
        const Sum<T> g = static_cast<Sum<T>>(dy[i]);
        sum = indices[i] == place ? sum + g : sum;
      }
    }
    dx[plane * s.in() + place] = static_cast<T>(sum);
  }
}

template <class T>
__global__ void unpool_kernel(i64 planes, i64 count, i64 size, const T* x, const std::int32_t* indices, T* y) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= size) return;
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    T value = T(0);
    for (i64 i = plane * count; i < (plane + 1) * count; ++i) {
      if (indices[i] == place) value = x[i];
    }
    y[plane * size + place] = value;
  }
}

template <class T>
__global__ void unpool_gradient_kernel(i64 planes, i64 count, i64 size, const T* dy, const std::int32_t* indices,
                                       T* dx) {
  const i64 place = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= count) return;
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const std::int32_t index = indices[plane * count + place];
    dx[plane * count + place] = index >= 0 && index < size ? dy[plane * size + index] : T(0);
  }
}

template <class Kernel, class... Arguments>
cudaError_t run(i64 planes, i64 elements, cudaStream_t stream, Kernel kernel, Arguments... arguments) {
  if (planes == 0 || elements == 0) return cudaSuccess;
  const Grid grid = grid_of_planes(planes, elements);
  return launch(kernel, grid.blocks, grid.threads, 0, stream, planes, arguments...);
}

}  // namespace

template <class T>
cudaError_t max_pool2d_forward(i64 planes, const Windows3& s, const T* x, T* y, std::int32_t* indices,
                               cudaStream_t stream) {
  if (!is_image(s)) return run(planes, s.out(), stream, forward_kernel<T>, s, x, y, indices);
  const auto is = [&](i64 window) { return s.h.kernel == window && s.w.kernel == window; };
  const auto kernel = is(2)   ? image_forward_kernel<T, 2>
                      : is(3) ? image_forward_kernel<T, 3>
                              : image_forward_kernel<T, 0>;
  return run(planes, s.out(), stream, kernel, ImageWindows(s), x, y, indices);
}

template <class T>
cudaError_t max_pool2d_backward(i64 planes, const Windows3& s, const T* dy, const std::int32_t* indices, T* dx,
                                cudaStream_t stream) {
  if (!is_image(s)) return run(planes, s.in(), stream, backward_kernel<T>, s, dy, indices, dx);
  const ImageWindows image(s);
  const int most = std::max(image.h.most_over(), image.w.most_over());
  const auto kernel = most == 1   ? image_backward_kernel<T, 1>
                      : most == 2 ? image_backward_kernel<T, 2>
                                  : image_backward_kernel<T, 0>;
  return run(planes, s.in(), stream, kernel, image, dy, indices, dx);
}

template <class T>
cudaError_t max_unpool2d_forward(i64 planes, i64 count, i64 size, const T* x, const std::int32_t* indices, T* y,
                                 cudaStream_t stream) {
  return run(planes, size, stream, unpool_kernel<T>, count, size, x, indices, y);
}

template <class T>
cudaError_t max_unpool2d_backward(i64 planes, i64 count, i64 size, const T* dy, const std::int32_t* indices, T* dx,
                                  cudaStream_t stream) {
  return run(planes, count, stream, unpool_gradient_kernel<T>, count, size, dy, indices, dx);
}

#define JADRO_POOL2D(T)                                                                                            \
  template cudaError_t max_pool2d_forward(i64, const Windows3&, const T*, T*, std::int32_t*, cudaStream_t);        \
  template cudaError_t max_pool2d_backward(i64, const Windows3&, const T*, const std::int32_t*, T*, cudaStream_t); \
  template cudaError_t max_unpool2d_forward(i64, i64, i64, const T*, const std::int32_t*, T*, cudaStream_t);       \
  template cudaError_t max_unpool2d_backward(i64, i64, i64, const T*, const std::int32_t*, T*, cudaStream_t);
JADRO_POOL2D(float)
JADRO_POOL2D(double)
JADRO_POOL2D(Half)
JADRO_POOL2D(Bfloat16)
#undef JADRO_POOL2D

}  // namespace jadro::cuda
