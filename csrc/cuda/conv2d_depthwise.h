// Depthwise convolution of images, a group an incoming channel: a thread makes a strip of results that stand below each
// other, with the filter in registers, so that neighbours read neighbours and rows of the source are read once a strip.
#pragma once

#include <type_traits>

#include "cuda/channels.h"
#include "cuda/conv2d_pass.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

template <int kStep>
constexpr int kStripRows = kStep == 1 ? 8 : 4;

// The strips of a pass: a number says column, strip, channel and image, the first fastest.
struct Strips {
  i64 total, of_channel;
  Divider by_column, by_strip, by_channel, by_out;

  Strips(const Conv2dPass& p, int rows) {
    const i64 strips = ceil_div(p.h.grid, rows), channels = p.groups * p.out;
    of_channel = p.n * strips * p.w.grid;
    total = of_channel * channels;
    const auto divider = [](i64 by) { return Divider(by > 0 ? by : 1); };
    by_column = divider(p.w.grid), by_strip = divider(strips), by_channel = divider(channels), by_out = divider(p.out);
  }
};

// The same axis with taps that follow each other to the right.
inline PassAxis upright(PassAxis a) {
  if (a.apart >= 0) return a;
  a.first += (a.taps - 1) * a.apart, a.apart = -a.apart;
  a.w_first += (a.taps - 1) * a.w_step, a.w_step = -a.w_step;
  return a;
}

inline bool is_flat(const PassAxis& a) { return a.source == 1 && a.grid == 1 && a.taps == 1 && a.first == 0; }

// Whether a pass is one over images with a group a channel, with numbers that have 31 bits.
inline bool is_depthwise(const Conv2dPass& p) {
  return p.in == 1 && p.mode == PaddingMode::kZeros && is_flat(p.d) && p.d.destination == 1 &&
         Strips(p, 1).total <= INT32_MAX;
}

// f(taps, step) as constants for the squares that have a kernel of their own; whether there is one.
template <class F>
bool with_square(const Conv2dPass& p, F f) {
  const auto is = [&](int taps, int step) {
    const auto fits = [&](const PassAxis& a) { return a.taps == taps && a.step == step && a.apart == 1; };
    return fits(p.h) && fits(p.w);
  };
  using One = std::integral_constant<int, 1>;
  using Two = std::integral_constant<int, 2>;
  using Three = std::integral_constant<int, 3>;
  using Five = std::integral_constant<int, 5>;
  if (is(3, 1)) return f(Three{}, One{}), true;
  if (is(3, 2)) return f(Three{}, Two{}), true;
  if (is(5, 1)) return f(Five{}, One{}), true;
  if (is(5, 2)) return f(Five{}, Two{}), true;
  return false;
}

// kTaps neighbours of a row of the source, 0 outside.
template <int kTaps, class T>
__device__ void load_window(const Conv2dPass& p, const T* plane, int row, int left, Sum<T> (&v)[kTaps]) {
  const bool inside = row >= 0 && row < p.h.source;
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const bool here = inside && left + t >= 0 && left + t < p.w.source;
    v[t] = here ? static_cast<Sum<T>>(plane[row * p.w.source + left + t]) : Sum<T>(0);
  }
}

// f(output of the strip, tap, what it meets), each row of the source read once.
template <int kTaps, int kStep, class T, class F>
__device__ void for_strip_taps(const Conv2dPass& p, const T* plane, int first, int column, F f) {
#pragma unroll
  for (int r = 0; r < (kStripRows<kStep> - 1) * kStep + kTaps; ++r) {
    Sum<T> v[kTaps];
    load_window(p, plane, first * kStep + p.h.first + r, column * kStep + p.w.first, v);
#pragma unroll
    for (int o = 0; o < kStripRows<kStep>; ++o) {
      const int row = r - o * kStep;
      if (row < 0 || row >= kTaps) continue;
#pragma unroll
      for (int t = 0; t < kTaps; ++t) f(o, row * kTaps + t, v[t]);
    }
  }
}

template <class T>
__device__ Sum<T> tap_weight(const Conv2dPass& p, const T* filter, int h, int w) {
  return static_cast<Sum<T>>(filter[(p.h.w_first + h * p.h.w_step) * p.w.kernel + p.w.w_first + w * p.w.w_step]);
}

// f(image, channel, group, first row, column) of this thread's strip, if it has one.
template <class F>
__device__ void with_strip(const Strips& s, int rows, F f) {
  const u32 index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= s.total) return;
  const u32 strip = s.by_column.divide(index), plane = s.by_strip.divide(strip), image = s.by_channel.divide(plane);
  const u32 channel = plane - image * s.by_channel.divisor;
  f(static_cast<int>(image), static_cast<int>(channel), static_cast<int>(s.by_out.divide(channel)),
    static_cast<int>(strip - plane * s.by_strip.divisor) * rows, static_cast<int>(index - strip * s.by_column.divisor));
}

template <class Result, class S>
__device__ void put_depthwise(const Conv2dPass& p, Result& y, int image, int channel, int row, int column, S value) {
  const i64 place = image * p.groups * p.out * p.destination_size();
  const int h = row * p.h.dst_step + p.h.dst_first, w = column * p.w.dst_step + p.w.dst_first;
  y.put(place + h * p.w.destination + w, channel, value);
}

template <class T, class Result, int kTaps, int kStep>
__global__ void depthwise_kernel(Conv2dPass p, Strips strips, const T* x, const T* w, Result y) {
  constexpr int kRows = kStripRows<kStep>;
  with_strip(strips, kRows, [&](int image, int channel, int group, int first, int column) {
    const T* const plane = x + (image * p.groups + group) * p.source_size();
    const T* const filter = w + group * p.w_group + (channel - group * p.out) * p.w_out;
    Sum<T> taps[kTaps * kTaps], sums[kRows] = {};
#pragma unroll
    for (int i = 0; i < kTaps * kTaps; ++i) taps[i] = tap_weight(p, filter, i / kTaps, i % kTaps);
    for_strip_taps<kTaps, kStep>(p, plane, first, column, [&](int o, int tap, Sum<T> v) { sums[o] += v * taps[tap]; });
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      if (first + o < p.h.grid) put_depthwise(p, y, image, channel, first + o, column, sums[o]);
    }
  });
}

// Any taps: a thread a result.
template <class T, class Result>
__global__ void depthwise_any_kernel(Conv2dPass p, Strips strips, const T* x, const T* w, Result y) {
  with_strip(strips, 1, [&](int image, int channel, int group, int row, int column) {
    const T* const plane = x + (image * p.groups + group) * p.source_size();
    const T* const filter = w + group * p.w_group + (channel - group * p.out) * p.w_out;
    Sum<T> sum = 0;
    for (int h = 0; h < p.h.taps; ++h) {
      const int from = row * p.h.step + p.h.first + h * p.h.apart;
      for (int v = 0; v < p.w.taps; ++v) {
        Sum<T> value[1];
        load_window(p, plane, from, column * p.w.step + p.w.first + v * p.w.apart, value);
        sum += value[0] * tap_weight(p, filter, h, v);
      }
    }
    put_depthwise(p, y, image, channel, row, column, sum);
  });
}

// Runs a pass that is_depthwise.
template <class T, class Result>
cudaError_t run_depthwise(Conv2dPass p, const T* x, const T* w, const Result& y, cudaStream_t stream) {
  p.h = upright(p.h), p.w = upright(p.w);
  cudaError_t error = cudaSuccess;
  const auto start = [&](auto kernel, const Strips& strips) {
    const dim3 blocks(static_cast<unsigned>(ceil_div(strips.total, kThreads)));
    error = launch(kernel, blocks, dim3(kThreads), 0, stream, p, strips, x, w, y);
  };
  const bool is_square = with_square(p, [&](auto taps, auto step) {
    start(depthwise_kernel<T, Result, taps.value, step.value>, Strips(p, kStripRows<step.value>));
  });
  if (!is_square) start(depthwise_any_kernel<T, Result>, Strips(p, 1));
  return error;
}

// out[piece,channel,taps and one]: the gradients of all taps of a channel, and of its bias, over a piece of its strips.
template <class T, int kTaps, int kStep>
__global__ void depthwise_weight_kernel(Conv2dPass p, Strips strips, const T* x, const T* dy, Sum<T>* out) {
  constexpr int kRows = kStripRows<kStep>, kSums = kTaps * kTaps + 1;
  const i64 channel = blockIdx.x, group = channel / p.out, channels = gridDim.x;
  const i64 piece = (strips.of_channel + gridDim.y - 1) / gridDim.y;
  const u32 end = static_cast<u32>(min((blockIdx.y + 1) * piece, strips.of_channel));
  Sum<T> sums[kSums] = {};
  for (u32 i = static_cast<u32>(blockIdx.y * piece) + threadIdx.x; i < end; i += kThreads) {
    const u32 strip = strips.by_column.divide(i), image = strips.by_strip.divide(strip);
    const int column = static_cast<int>(i - strip * strips.by_column.divisor);
    const int first = static_cast<int>(strip - image * strips.by_strip.divisor) * kRows;
    const T* const plane = x + (image * p.groups + group) * p.source_size();
    const T* const from = dy + (image * channels + channel) * p.h.grid * p.w.grid + column;
    Sum<T> g[kRows];
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      g[o] = first + o < p.h.grid ? static_cast<Sum<T>>(from[(first + o) * p.w.grid]) : Sum<T>(0);
      sums[kSums - 1] += g[o];
    }
    for_strip_taps<kTaps, kStep>(p, plane, first, column, [&](int o, int tap, Sum<T> v) { sums[tap] += v * g[o]; });
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const Sum<T> sum = group_reduce<kThreads>(sums[i], Add{}, dynamic_shared<Sum<T>>());
    if (threadIdx.x == 0) out[(blockIdx.y * channels + channel) * kSums + i] = sum;
  }
}

// Adds up the pieces: dw[channel,taps], and db[channel] where it is wanted.
template <class T>
__global__ void finish_depthwise_kernel(i64 channels, i64 taps, i64 pieces, const Sum<T>* sums, T* dw, T* db) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x, channel = i / (taps + 1);
  const i64 tap = i % (taps + 1);
  if (channel >= channels) return;
  Sum<T> sum = 0;
  for (i64 piece = 0; piece < pieces; ++piece) sum += sums[piece * channels * (taps + 1) + i];
  if (tap < taps) {
    dw[channel * taps + tap] = static_cast<T>(sum);
  } else if (db) {
    db[channel] = static_cast<T>(sum);
  }
}

inline i64 depthwise_pieces(const Conv2dPass& p, const Strips& strips) {
  const i64 wanted = ceil_div(2 * kFullGrid, p.groups * p.out), most = ceil_div(strips.of_channel, 2 * kThreads);
  return wanted < most ? wanted : most > 0 ? most : 1;
}

// Elements of scratch memory of the gradient of the weights; 0 where it has no depthwise form.
inline i64 depthwise_scratch(const Conv2dPass& p) {
  i64 size = 0;
  if (!is_depthwise(p) || p.cells() == 0) return size;
  with_square(p, [&](auto taps, auto step) {
    const Strips strips(p, kStripRows<step.value>);
    size = depthwise_pieces(p, strips) * p.groups * p.out * (taps.value * taps.value + 1);
  });
  return size;
}

template <class T>
cudaError_t depthwise_weight_gradient(const Conv2dPass& p, const T* x, const T* dy, T* dw, T* db, Sum<T>* scratch,
                                      cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  with_square(p, [&](auto taps, auto step) {
    const Strips strips(p, kStripRows<step.value>);
    const i64 channels = p.groups * p.out, pieces = depthwise_pieces(p, strips), all = taps.value * taps.value;
    const dim3 blocks(static_cast<unsigned>(channels), static_cast<unsigned>(pieces));
    error = launch(depthwise_weight_kernel<T, taps.value, step.value>, blocks, dim3(kThreads),
                   kThreads / 32 * sizeof(Sum<T>), stream, p, strips, x, dy, scratch);
    if (error != cudaSuccess) return;
    error = launch(finish_depthwise_kernel<T>, dim3(static_cast<unsigned>(ceil_div(channels * (all + 1), kThreads))),
                   dim3(kThreads), 0, stream, channels, all, pieces, static_cast<const Sum<T>*>(scratch), dw, db);
  });
  return error;
}

}  // namespace
}  // namespace jadro::cuda
