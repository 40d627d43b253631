// Convolution to a few channels: a thread sums all of them for several cells, with the filters in shared memory, for a
// tile of a product would stand empty.
#pragma once

#include "cuda/conv2d_results.h"

namespace jadro::cuda {

constexpr int kNarrow = 4, kNarrowCells = 4, kNarrowChannels = 8;  // results, cells of a thread; channels of a round

// Bytes of the filters of a pass in shared memory, [taps, in] of kNarrow each.
template <class T>
i64 narrow_bytes(i64 taps, i64 in) {
  return taps * in * kNarrow * static_cast<i64>(sizeof(Sum<T>));
}

// Whether a pass of `cells` cells fills a card with such threads.
template <class T>
bool is_narrow(i64 taps, i64 in, i64 out, i64 cells, i64 groups) {
  return out <= kNarrow && in > kNarrow && groups <= 65535 && narrow_bytes<T>(taps, in) <= 48 << 10 &&
         groups * ceil_div(cells, kThreads * kNarrowCells) >= kFullGrid / 8;
}

// sums[cell][out] += the taps of channels c0, ... of the source, whose padding is zeros.
template <class T>
__device__ void add_channels(const Conv2dPass& p, const T* x, const SourceOffset (&cells)[kNarrowCells], int c0,
                             const Sum<T>* filters, Sum<T> (&sums)[kNarrowCells][kNarrow]) {
  const i64 size = p.source_size();
  const int in = static_cast<int>(p.in), count = min(in - c0, kNarrowChannels);
  const int taps = p.d.taps * p.h.taps * p.w.taps;
  for (int tap = 0; tap < taps; ++tap) {
    const Place3 t = tap_of(p, tap);
    const T* from[kNarrowCells];
#pragma unroll
    for (int i = 0; i < kNarrowCells; ++i) {
      const int d = cells[i].d + p.d.first + t.d * p.d.apart, h = cells[i].h + p.h.first + t.h * p.h.apart;
      const int w = cells[i].w + p.w.first + t.w * p.w.apart;
      const bool there =
          cells[i].plane >= 0 && d >= 0 && d < p.d.source && h >= 0 && h < p.h.source && w >= 0 && w < p.w.source;
      from[i] = there ? x + cells[i].plane + c0 * size + (d * p.h.source + h) * p.w.source + w : nullptr;
    }
    const Sum<T>* const filter = filters + (tap * in + c0) * kNarrow;
#pragma unroll
    for (int c = 0; c < kNarrowChannels; ++c) {
      if (c >= count) break;
      Sum<T> weights[kNarrow];
#pragma unroll
      for (int o = 0; o < kNarrow; ++o) weights[o] = filter[c * kNarrow + o];
#pragma unroll
      for (int i = 0; i < kNarrowCells; ++i) {
        const Sum<T> value = from[i] ? static_cast<Sum<T>>(from[i][c * size]) : Sum<T>(0);
#pragma unroll
        for (int o = 0; o < kNarrow; ++o) sums[i][o] += value * weights[o];
      }
    }
  }
}

// Group blockIdx.y; the cells of a thread are kThreads apart.
template <class T>
__global__ void __launch_bounds__(kThreads) narrow_kernel(Conv2dColumns<T> x, Conv2dFilters<T> w, Stored<T> y) {
  const Conv2dPass& p = w.pass;
  const i64 group = blockIdx.y;
  const int in = static_cast<int>(p.in), out = static_cast<int>(p.out);
  const int size = p.d.taps * p.h.taps * p.w.taps * in * kNarrow;
  x.select(group);
  w.select(group);
  y.select(group);
  Sum<T>* const filters = dynamic_shared<Sum<T>>();
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
    const int o = i % kNarrow, c = i / kNarrow % in;
    Place3 tap = tap_of(p, i / kNarrow / in);
    tap.outer = c;
    filters[i] = o < out ? static_cast<Sum<T>>(w.at(w.place(o), w.element(tap))) : Sum<T>(0);
  }
  __syncthreads();
  const i64 first = static_cast<i64>(blockIdx.x) * kThreads * kNarrowCells + threadIdx.x;
  SourceOffset cells[kNarrowCells];
  Sum<T> sums[kNarrowCells][kNarrow] = {};
#pragma unroll
  for (int i = 0; i < kNarrowCells; ++i) cells[i] = x.place(first + i * kThreads);
  for (int c0 = 0; c0 < in; c0 += kNarrowChannels) add_channels(p, x.data, cells, c0, filters, sums);
#pragma unroll
  for (int i = 0; i < kNarrowCells; ++i) {
    if (cells[i].plane < 0) continue;
    const i64 place = y.place(first + i * kThreads);
#pragma unroll
    for (int o = 0; o < kNarrow; ++o) {
      if (o < out) y.put(place, o, sums[i][o]);
    }
  }
}

template <class T>
cudaError_t run_narrow(const Conv2dColumns<T>& x, const Conv2dFilters<T>& w, const Stored<T>& y, cudaStream_t stream) {
  const Conv2dPass& p = w.pass;
  const i64 taps = static_cast<i64>(p.d.taps) * p.h.taps * p.w.taps;
  const i64 blocks = ceil_div(p.cells(), kThreads * kNarrowCells);
  return launch(narrow_kernel<T>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(p.groups)), dim3(kThreads),
                static_cast<std::size_t>(narrow_bytes<T>(taps, p.in)), stream, x, w, y);
}

}  // namespace jadro::cuda
