// Batch normalisation (Ioffe and Szegedy 2015) over x[n,c,s]. The items of a channel are its n * s numbers in order.
// Where s is 1 the channels lie side by side and fill the lanes of a vector; else items of one channel do.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// Reads an array of one number a channel: the same for every lane, or one for each.
template <class T>
struct SameChannel {
  i64 c;
  JADRO_INLINE Vec<T> operator()(const T* values) const { return broadcast(values[c]); }
};
template <class T>
struct ChannelLanes {
  i64 c, count;
  JADRO_INLINE Vec<T> operator()(const T* values) const { return load_n(values + c, count); }
};

// f(offset in x, count) for the runs of memory that hold `items` of channel c.
template <class F>
JADRO_INLINE void for_runs(const BatchNorm& b, i64 c, Range items, F f) {
  i64 n = items.begin / b.s, first = items.begin % b.s;
  for (i64 left = items.end - items.begin; left > 0; ++n, first = 0) {
    const i64 count = min(left, b.s - first);
    f((n * b.c + c) * b.s + first, count);
    left -= count;
  }
}

// y[offset] = body(offset, count, p) for the vectors of the channels' items; p is what read(SameChannel or
// ChannelLanes) gave.
template <class T, class Read, class Body>
JADRO_INLINE void map_channels(const BatchNorm& b, Range channels, Range items, T* y, bool past_caches, Read read,
                               Body body) {
  if (b.s == 1) {
    for (i64 n = items.begin; n < items.end; ++n) {
      const i64 row = n * b.c + channels.begin;
      map_vectors(y + row, channels.end - channels.begin, past_caches, [&](i64 i, i64 count) {
        return body(row + i, count, read(ChannelLanes<T>{channels.begin + i, count}));
      });
    }
    return;
  }
  for (i64 c = channels.begin; c < channels.end; ++c) {
    const auto p = read(SameChannel<T>{c});
    for_runs(b, c, items, [&](i64 at, i64 size) {
      map_vectors(y + at, size, past_caches, [&](i64 i, i64 count) { return body(at + i, count, p); });
    });
  }
}

// Two sums at a time. Four of each in turn hide the latency of addition.
constexpr int kTurns = 4;
template <class T>
struct TwoSums {
  Vec<T> a[kTurns] = {}, b[kTurns] = {};
  JADRO_INLINE void add(int turn, Vec<T> x, Vec<T> y) {
    a[turn] += x;
    b[turn] += y;
  }
  JADRO_INLINE void finish() {
    a[0] = (a[0] + a[1]) + (a[2] + a[3]);
    b[0] = (b[0] + b[1]) + (b[2] + b[3]);
  }
};

// out(c, sum, sum) over the items of each channel of what body(offset, count, p, add) hands to add(Vec, Vec).
template <class T, class Read, class Body, class Out>
JADRO_INLINE void sum_channels(const BatchNorm& b, Range channels, Range items, Read read, Body body, Out out) {
  if (b.s == 1) {
    for_vectors<T>(channels.end - channels.begin, [&](i64 i, i64 count) {
      const i64 c = channels.begin + i;
      const auto p = read(ChannelLanes<T>{c, count});
      TwoSums<T> sums;
      i64 n = items.begin;
      for (; n + kTurns <= items.end; n += kTurns) {
#pragma GCC unroll 4
        for (int turn = 0; turn < kTurns; ++turn) {
          body((n + turn) * b.c + c, count, p, [&](Vec<T> x, Vec<T> y) { sums.add(turn, x, y); });
        }
      }
      for (; n < items.end; ++n) body(n * b.c + c, count, p, [&](Vec<T> x, Vec<T> y) { sums.add(0, x, y); });
      sums.finish();
      for (i64 lane = 0; lane < count; ++lane) out(c + lane, sums.a[0][lane], sums.b[0][lane]);
    });
    return;
  }
  constexpr i64 kStep = kTurns * kLanes<T>;
  for (i64 c = channels.begin; c < channels.end; ++c) {
    const auto p = read(SameChannel<T>{c});
    TwoSums<T> sums;
    for_runs(b, c, items, [&](i64 at, i64 size) {
      i64 i = 0;
      for (; i + kStep <= size; i += kStep) {
#pragma GCC unroll 4
        for (int turn = 0; turn < kTurns; ++turn) {
          body(at + i + turn * kLanes<T>, kLanes<T>, p, [&](Vec<T> x, Vec<T> y) { sums.add(turn, x, y); });
        }
      }
#pragma GCC unroll 4
      for (int turn = 0; turn < kTurns; ++turn, i += kLanes<T>) {
        const i64 count = min(size - i, kLanes<T>);
        if (count <= 0) break;
        body(at + i, count, p, [&](Vec<T> x, Vec<T> y) { sums.add(turn, x, y); });
      }
    });
    sums.finish();
    out(c, sum_lanes<T>(sums.a[0]), sum_lanes<T>(sums.b[0]));
  }
}

// out[c] = moments of the items of each channel, mean[c] is scratch. By blocks that stay in the L1 and are short enough
// to be summed in T: the mean first, then the squared distances from it, put right by the sum of the distances.
template <class T>
void batch_norm_moments(const BatchNorm& b, const T* x, Range channels, Range items, T* mean, Moments* out) {
  const i64 kBlock = b.s == 1 ? 128 : 4096;
  for (i64 c = channels.begin; c < channels.end; ++c) out[c] = {0, 0, 0};
  for (i64 first = items.begin; first < items.end; first += kBlock) {
    const Range block{first, min(first + kBlock, items.end)};
    const double count = static_cast<double>(block.end - block.begin);
    sum_channels<T>(
        b, channels, block, [](auto) { return 0; },
        [&](i64 at, i64 size, int, auto add) { add(load_n(x + at, size), Vec<T>{}); },
        [&](i64 c, T sum, T) { mean[c] = static_cast<T>(sum / count); });
    sum_channels<T>(
        b, channels, block, [&](auto channel) { return channel(mean); },
        [&](i64 at, i64 size, Vec<T> m, auto add) {
          const Vec<T> d = keep_part<T>(load_n(x + at, size) - m, size, T(0));
          add(d, d * d);
        },
        [&](i64 c, T distance, T squares) {
          const double shift = distance / count;
          out[c] = merge(out[c], {count, mean[c] + shift, squares - distance * shift});
        });
  }
}

// y = (x - mean) scale + bias
template <class T>
void batch_norm_apply(const BatchNorm& b, const T* x, Range channels, Range items, const T* mean, const T* scale,
                      const T* bias, T* y, bool past_caches) {
  struct Parameters {
    Vec<T> mean, scale, bias;
  };
  map_channels(
      b, channels, items, y, past_caches,
      [&](auto channel) { return Parameters{channel(mean), channel(scale), channel(bias)}; },
      [&](i64 at, i64 count, const Parameters& p) { return (load_n(x + at, count) - p.mean) * p.scale + p.bias; });
}

// out[c] = sums of dy and of dy (x - mean), in T by blocks, then in double.
template <class T>
void batch_norm_sums(const BatchNorm& b, const T* dy, const T* x, Range channels, Range items, const T* mean,
                     BatchNormSums* out) {
  const i64 kBlock = b.s == 1 ? 128 : 4096;
  for (i64 c = channels.begin; c < channels.end; ++c) out[c] = {0, 0};
  for (i64 first = items.begin; first < items.end; first += kBlock) {
    sum_channels<T>(
        b, channels, {first, min(first + kBlock, items.end)}, [&](auto channel) { return channel(mean); },
        [&](i64 at, i64 count, Vec<T> m, auto add) {
          const Vec<T> g = load_n(dy + at, count);
          add(g, g * (load_n(x + at, count) - m));
        },
        [&](i64 c, T sum, T sum_x) {
          out[c].dy += sum;
          out[c].dy_x += sum_x;
        });
  }
}

// dx = (dy - shift - (x - mean) slope) scale, or dy scale where x is null.
template <class T>
void batch_norm_gradient(const BatchNorm& b, const T* dy, const T* x, Range channels, Range items, const T* mean,
                         const T* shift, const T* slope, const T* scale, T* dx, bool past_caches) {
  if (!x) {
    map_channels(
        b, channels, items, dx, past_caches, [&](auto channel) { return channel(scale); },
        [&](i64 at, i64 count, Vec<T> s) { return load_n(dy + at, count) * s; });
    return;
  }
  struct Parameters {
    Vec<T> mean, shift, slope, scale;
  };
  map_channels(
      b, channels, items, dx, past_caches,
      [&](auto channel) { return Parameters{channel(mean), channel(shift), channel(slope), channel(scale)}; },
      [&](i64 at, i64 count, const Parameters& p) {
        const Vec<T> d = load_n(x + at, count) - p.mean;
        return (load_n(dy + at, count) - p.shift - d * p.slope) * p.scale;
      });
}

}  // namespace
}  // namespace jadro
