// Batch normalisation (Ioffe and Szegedy 2015) over x[n,c,s]. The items of a channel are its n * s numbers in order.
// Where s is 1 the channels lie side by side and fill the lanes of a vector; else items of one channel do.
#pragma once

#include <type_traits>

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
JADRO_INLINE void for_runs(const ChannelShape& b, i64 c, Range items, F f) {
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
JADRO_INLINE void map_channels(const ChannelShape& b, Range channels, Range items, T* y, bool past_caches, Read read,
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

// Two sums at once.
template <class T>
struct Two {
  Vec<T> a, b;
  JADRO_INLINE void operator+=(const Two& other) {
    a += other.a;
    b += other.b;
  }
};

// Four sums in turn hide the latency of addition.
template <class T>
struct FourSums {
  Two<T> s0{}, s1{}, s2{}, s3{};

  // Of body(offset, count) for the vectors of [at, at + size).
  template <class Body>
  JADRO_INLINE void add(i64 at, i64 size, Body body) {
    constexpr i64 kN = kLanes<T>;
    i64 i = at;
    const i64 end = at + size;
    for (; i + 4 * kN <= end; i += 4 * kN) {
      s0 += body(i, kN);
      s1 += body(i + kN, kN);
      s2 += body(i + 2 * kN, kN);
      s3 += body(i + 3 * kN, kN);
    }
    if (i + kN <= end) s0 += body(i, kN), i += kN;
    if (i + kN <= end) s1 += body(i, kN), i += kN;
    if (i + kN <= end) s2 += body(i, kN), i += kN;
    if (i < end) s3 += body(i, end - i);
  }
  JADRO_INLINE Two<T> total() const {
    Two<T> a = s0, b = s2;
    a += s1;
    b += s3;
    a += b;
    return a;
  }
};

// out(c, sum, sum) of the Two that body(offset, count, p) gives for the vectors of each channel's items.
template <class T, class Read, class Body, class Out>
JADRO_INLINE void sum_channels(const ChannelShape& b, Range channels, Range items, Read read, Body body, Out out) {
  constexpr i64 kN = kLanes<T>;
  if (b.s == 1) {
    for_vectors<T>(channels.end - channels.begin, [&](i64 i, i64 count) {
      const i64 c = channels.begin + i;
      const auto p = read(ChannelLanes<T>{c, count});
      FourSums<T> sums;
      i64 n = items.begin;
      for (; n + 4 <= items.end; n += 4) {
        sums.s0 += body(n * b.c + c, count, p);
        sums.s1 += body((n + 1) * b.c + c, count, p);
        sums.s2 += body((n + 2) * b.c + c, count, p);
        sums.s3 += body((n + 3) * b.c + c, count, p);
      }
      for (; n < items.end; ++n) sums.s0 += body(n * b.c + c, count, p);
      const Two<T> s = sums.total();
      for (i64 lane = 0; lane < kN; ++lane) {
        if (lane < count) out(c + lane, s.a[lane], s.b[lane]);
      }
    });
    return;
  }
  for (i64 c = channels.begin; c < channels.end; ++c) {
    const auto p = read(SameChannel<T>{c});
    FourSums<T> sums;
    for_runs(b, c, items, [&](i64 at, i64 size) { sums.add(at, size, [&](i64 i, i64 n) { return body(i, n, p); }); });
    const Two<T> s = sums.total();
    out(c, sum_lanes<T>(s.a), sum_lanes<T>(s.b));
  }
}

// out[c] = moments of the items of each channel, mean[c] is scratch. By blocks that stay in the L1 and are short enough
// to be summed in T: the mean first, then the squared distances from it, put right by the sum of the distances.
template <class T>
void batch_norm_moments(const ChannelShape& b, const T* x, Range channels, Range items, T* mean, Moments* out) {
  const i64 kBlock = b.s == 1 ? 128 : 4096;
  for (i64 c = channels.begin; c < channels.end; ++c) out[c] = {0, 0, 0};
  for (i64 first = items.begin; first < items.end; first += kBlock) {
    const Range block{first, min(first + kBlock, items.end)};
    const double count = static_cast<double>(block.end - block.begin);
    sum_channels<T>(
        b, channels, block, [](auto) { return 0; },
        [&](i64 at, i64 size, int) { return Two<T>{load_n(x + at, size), Vec<T>{}}; },
        [&](i64 c, T sum, T) { mean[c] = static_cast<T>(sum / count); });
    sum_channels<T>(
        b, channels, block, [&](auto channel) { return channel(mean); },
        [&](i64 at, i64 size, Vec<T> m) {
          const Vec<T> d = keep_part<T>(load_n(x + at, size) - m, size, T(0));
          return Two<T>{d, d * d};
        },
        [&](i64 c, T distance, T squares) {
          const double shift = distance / count;
          out[c] = merge(out[c], {count, mean[c] + shift, squares - distance * shift});
        });
  }
}

// f(std::true_type or std::false_type): the inner loops know the answer.
template <class F>
JADRO_INLINE void with_bool(bool value, F f) {
  if (value) {
    f(std::true_type{});
  } else {
    f(std::false_type{});
  }
}

// y = (x - mean) scale + bias + add, rectified; add may be null.
template <class T>
void batch_norm_apply(const ChannelShape& b, const T* x, Range channels, Range items, const T* mean, const T* scale,
                      const T* bias, const T* add, const Rectifier<T>& rectifier, T* y, bool past_caches) {
  struct Parameters {
    Vec<T> mean, scale, bias, slope;
  };
  const T *const slope = rectifier.slope, most = rectifier.most;
  const auto read = [&](auto channel) {
    return Parameters{channel(mean), channel(scale), channel(bias), slope ? channel(slope) : Vec<T>{}};
  };
  with_bool(add != nullptr, [&](auto adds) {
    with_bool(rectifier.on, [&](auto rectifies) {
      map_channels(b, channels, items, y, past_caches, read, [=](i64 at, i64 count, const Parameters& p) {
        Vec<T> v = (load_n(x + at, count) - p.mean) * p.scale + p.bias;
        if (adds) v += load_n(add + at, count);
        if (!rectifies) return v;
        v = v <= T(0) ? (slope ? v * p.slope : Vec<T>{}) : v;
        return v > most ? broadcast(most) : v;
      });
    });
  });
}

// A mask as the inner loops see it: kNone lets everything pass, kSign goes by (x - mean) scale + bias, kResult by y.
enum class Mask { kNone, kSign, kResult };
template <class T, Mask kMask>
struct Masked {
  const T *y, *slope;
  T most;
  struct Parameters {
    Vec<T> scale, bias, slope;
  };
  template <class Channel>
  static JADRO_INLINE Parameters read(const BatchNormMask<T>& mask, Channel channel) {
    Parameters p{};
    if (kMask == Mask::kSign) p.scale = channel(mask.scale), p.bias = channel(mask.bias);
    if (kMask != Mask::kNone && mask.rectifier.slope) p.slope = channel(mask.rectifier.slope);
    return p;
  }
  // What passes of g; d = x - mean.
  JADRO_INLINE Vec<T> operator()(const Parameters& p, Vec<T> g, Vec<T> d, i64 at, i64 count) const {
    if (kMask == Mask::kNone) return g;
    const Vec<T> v = kMask == Mask::kSign ? d * p.scale + p.bias : load_n(y + at, count);
    const Vec<T> below = slope ? g * p.slope : Vec<T>{};
    return v > T(0) ? (v < most ? g : Vec<T>{}) : below;
  }
};
template <class T, class F>
JADRO_INLINE void with_mask(const BatchNormMask<T>& mask, F f) {
  const Rectifier<T>& r = mask.rectifier;
  if (mask.y) return f(Masked<T, Mask::kResult>{mask.y, r.slope, r.most});
  if (mask.scale) return f(Masked<T, Mask::kSign>{nullptr, r.slope, r.most});
  f(Masked<T, Mask::kNone>{});
}

// out[c] = sums of dy and of dy (x - mean), dy where the mask lets it pass, in T by blocks, then in double.
template <class T>
void batch_norm_sums(const ChannelShape& b, const T* dy, const T* x, const BatchNormMask<T>& mask, Range channels,
                     Range items, const T* mean, BatchNormSums* out) {
  const i64 kBlock = b.s == 1 ? 128 : 4096;
  for (i64 c = channels.begin; c < channels.end; ++c) out[c] = {0, 0};
  with_mask(mask, [&](auto masked) {
    struct Parameters {
      Vec<T> mean;
      typename decltype(masked)::Parameters mask;
    };
    for (i64 first = items.begin; first < items.end; first += kBlock) {
      sum_channels<T>(
          b, channels, {first, min(first + kBlock, items.end)},
          [&](auto channel) { return Parameters{channel(mean), masked.read(mask, channel)}; },
          [=](i64 at, i64 count, const Parameters& p) {
            const Vec<T> d = load_n(x + at, count) - p.mean, g = masked(p.mask, load_n(dy + at, count), d, at, count);
            return Two<T>{g, g * d};
          },
          [&](i64 c, T sum, T sum_x) {
            out[c].dy += sum;
            out[c].dy_x += sum_x;
          });
    }
  });
}

// dx = (dy gain - shift - (x - mean) slope) scale, dy where the mask lets it pass, which goes to mask.dadd as well; no
// gain is 1. x is null where shift and slope are 0, there is no gain, and no mask needs it.
template <class T>
void batch_norm_gradient(const ChannelShape& b, const T* dy, const T* x, const BatchNormMask<T>& mask, Range channels,
                         Range items, const T* mean, const T* gain, const T* shift, const T* slope, const T* scale,
                         T* dx, bool past_caches) {
  if (!x) {
    map_channels(
        b, channels, items, dx, past_caches, [&](auto channel) { return channel(scale); },
        [=](i64 at, i64 count, Vec<T> s) { return load_n(dy + at, count) * s; });
    return;
  }
  with_mask(mask, [&](auto masked) {
    struct Parameters {
      Vec<T> mean, gain, shift, slope, scale;
      typename decltype(masked)::Parameters mask;
    };
    T* const dadd = mask.dadd;
    const bool aligned = reinterpret_cast<std::uintptr_t>(dadd) % kVectorBytes == 0;
    map_channels(
        b, channels, items, dx, past_caches,
        [&](auto channel) {
          return Parameters{channel(mean),  gain ? channel(gain) : broadcast(T(1)),
                            channel(shift), channel(slope),
                            channel(scale), masked.read(mask, channel)};
        },
        [=](i64 at, i64 count, const Parameters& p) {
          const Vec<T> d = load_n(x + at, count) - p.mean, g = masked(p.mask, load_n(dy + at, count), d, at, count);
          if (dadd) {
            if (past_caches && aligned && at % kLanes<T> == 0 && count == kLanes<T>) {
              stream(dadd + at, g);
            } else {
              store_n(dadd + at, g, count);
            }
          }
          return (g * p.gain - p.shift - d * p.slope) * p.scale;
        });
  });
}

}  // namespace
}  // namespace jadro
