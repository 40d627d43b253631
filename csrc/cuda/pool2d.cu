// Two-dimensional max pooling with the results of kernels/pool2d.h, bit for bit: the first of equal values wins, the
// first NaN beats every number, padding never wins; a window without a single pixel gives -inf and index -1.
#include <cmath>

#include "cuda/launch.h"
#include "cuda/pool2d.h"

namespace jadro::cuda {
namespace {

__device__ i64 plane_offset(i64 plane, i64 height, i64 width) { return plane * height * width; }

// The first of begin, begin + step, ... that is not negative. begin > -2^32, step < 2^31.
__device__ i64 first_inside(i64 begin, i64 step) {
  if (begin >= 0) return begin;
  const u32 over = static_cast<u32>(-begin) % static_cast<u32>(step);
  return over ? step - over : 0;
}

// A thread computes one output of each plane that its block meets.
template <class T>
__global__ void forward_kernel(Pool2d p, const T* __restrict__ x, T* __restrict__ y,
                               std::int32_t* __restrict__ indices) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x, row = static_cast<u32>(p.ow);
  if (place >= p.oh * p.ow) return;
  const i64 top = place / row * p.stride_h - p.pad_top, left = place % row * p.stride_w - p.pad_left;
  const i64 bottom = min(top + (p.kh - 1) * p.dilation_h + 1, p.ih);
  const i64 right = min(left + (p.kw - 1) * p.dilation_w + 1, p.iw);
  const i64 first_h = first_inside(top, p.dilation_h), first_w = first_inside(left, p.dilation_w);
  for (i64 plane = blockIdx.y; plane < p.planes; plane += gridDim.y) {
    const T* const image = x + plane_offset(plane, p.ih, p.iw);
    T best = -INFINITY;
    std::int32_t index = -1;
    for (i64 h = first_h; h < bottom; h += p.dilation_h) {
      for (i64 w = first_w; w < right; w += p.dilation_w) {
        const T v = image[h * p.iw + w];
        if (index >= 0 && (v <= best || best != best)) continue;
        best = v;
        index = static_cast<std::int32_t>(h * p.iw + w);
      }
    }
    const i64 to = plane_offset(plane, p.oh, p.ow) + place;
    y[to] = best;
    if (indices) indices[to] = index;
  }
}

// Outputs begin .. end - 1 along one axis: those whose window spans the place, whichever the dilation.
struct Span {
  u32 begin, end;
};

// Output o spans o stride - pad .. o stride - pad + extent - 1.
__device__ Span windows_over(u32 place, i64 pad, i64 stride, i64 extent, i64 outputs) {
  const u32 last = place + static_cast<u32>(pad), step = static_cast<u32>(stride);
  const u32 begin = last < extent ? 0 : (last - static_cast<u32>(extent)) / step + 1;
  return {begin, min(last / step + 1, static_cast<u32>(outputs))};
}

// A thread sums one element of dx, over the windows around it in the order of y: no atomics, the same bits every time.
template <class T>
__global__ void backward_kernel(Pool2d p, const T* __restrict__ dy, const std::int32_t* __restrict__ indices,
                                T* __restrict__ dx) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x, row = static_cast<u32>(p.iw);
  if (place >= p.ih * p.iw) return;
  const Span down = windows_over(place / row, p.pad_top, p.stride_h, (p.kh - 1) * p.dilation_h + 1, p.oh);
  const Span across = windows_over(place % row, p.pad_left, p.stride_w, (p.kw - 1) * p.dilation_w + 1, p.ow);
  for (i64 plane = blockIdx.y; plane < p.planes; plane += gridDim.y) {
    const i64 from = plane_offset(plane, p.oh, p.ow);
    T sum = 0;
    for (u32 h = down.begin; h < down.end; ++h) {
      for (u32 w = across.begin; w < across.end; ++w) {
        const i64 i = from + h * p.ow + w;
        if (indices[i] == static_cast<std::int32_t>(place)) sum += dy[i];
      }
    }
    dx[plane_offset(plane, p.ih, p.iw) + place] = sum;
  }
}

}  // namespace

template <class T>
cudaError_t max_pool2d_forward(const Pool2d& p, const T* x, T* y, std::int32_t* indices, cudaStream_t stream) {
  if (p.planes == 0 || p.oh * p.ow == 0) return cudaSuccess;
  const Grid grid = grid_over(p.planes, p.oh * p.ow);
  return launch(forward_kernel<T>, grid.blocks, grid.threads, 0, stream, p, x, y, indices);
}

template <class T>
cudaError_t max_pool2d_backward(const Pool2d& p, const T* dy, const std::int32_t* indices, T* dx, cudaStream_t stream) {
  if (p.planes == 0 || p.ih * p.iw == 0) return cudaSuccess;
  const Grid grid = grid_over(p.planes, p.ih * p.iw);
  return launch(backward_kernel<T>, grid.blocks, grid.threads, 0, stream, p, dy, indices, dx);
}

template cudaError_t max_pool2d_forward(const Pool2d&, const float*, float*, std::int32_t*, cudaStream_t);
template cudaError_t max_pool2d_forward(const Pool2d&, const double*, double*, std::int32_t*, cudaStream_t);
template cudaError_t max_pool2d_backward(const Pool2d&, const float*, const std::int32_t*, float*, cudaStream_t);
template cudaError_t max_pool2d_backward(const Pool2d&, const double*, const std::int32_t*, double*, cudaStream_t);

}  // namespace jadro::cuda
