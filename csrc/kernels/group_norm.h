// Group normalisation (Wu and He 2018) of rows that are whole groups, each normalised by itself. Layer norm is this
// with channels of one number; instance norm has rows of one channel.
#pragma once

#include "kernels/batch_norm.h"

namespace jadro {
namespace {

constexpr i64 kRowBlock = 4096;  // numbers that are summed in T

// v w + b, where they are there.
template <class T, bool kWeight, bool kBias>
JADRO_INLINE Vec<T> affine_row(Vec<T> v, const T* weight, const T* bias, i64 i, i64 count) {
  if (kWeight) v *= load_n(weight + i, count);
  if (kBias) v += load_n(bias + i, count);
  return v;
}

// f(row, its group) for the rows.
template <class T, class F>
JADRO_INLINE void for_rows(const GroupNormRows<T>& g, Range rows, F f) {
  i64 group = rows.begin % g.groups;
  for (i64 r = rows.begin; r < rows.end; ++r) {
    f(r, group);
    if (++group == g.groups) group = 0;
  }
}

struct RowMoments {
  double mean, variance;
};

// Of n numbers: the mean first, then the squared distances from it, put right by the sum of the distances.
template <class T>
JADRO_INLINE RowMoments row_moments(const T* x, i64 n, double inverse) {
  if (n > kRowBlock) {
    Moments m;
    T scratch[kLanes<T>];
    batch_norm_moments<T>({1, 1, n}, x, {0, 1}, {0, n}, scratch, &m);
    return {m.mean, m.squares * inverse};
  }
  FourSums<T> sums, distances;
  sums.add(0, n, [&](i64 i, i64 count) { return Two<T>{load_n(x + i, count), Vec<T>{}}; });
  const T centre = static_cast<T>(sum_lanes<T>(sums.total().a) * inverse);
  distances.add(0, n, [&](i64 i, i64 count) {
    const Vec<T> d = keep_part<T>(load_n(x + i, count) - centre, count, T(0));
    return Two<T>{d, d * d};
  });
  const Two<T> total = distances.total();
  const double distance = sum_lanes<T>(total.a), shift = distance * inverse;
  return {centre + shift, (sum_lanes<T>(total.b) - distance * shift) * inverse};
}

// y = (x - mean) rstd weight + bias for the rows of x[..,k,s].
template <class T>
void group_norm_rows_forward(const GroupNormRows<T>& g, const T* x, Range rows, T* y, T* mean, T* rstd,
                             bool past_caches) {
  const i64 size = g.k * g.s;
  const double inverse = 1 / static_cast<double>(size);
  const auto forward = [&](auto weighted, auto biased) {
    for_rows(g, rows, [&](i64 r, i64 group) {
      const T* const from = x + r * size;
      const T* const weight = weighted.value ? g.weight + group * g.k : nullptr;
      const T* const bias = biased.value ? g.bias + group * g.k : nullptr;
      const RowMoments m = row_moments(from, size, inverse);
      mean[r] = static_cast<T>(m.mean);
      const double exact = 1 / __builtin_sqrt(m.variance + g.eps);
      rstd[r] = static_cast<T>(exact);
      // What the rounding of the mean took away is put back.
      const T centre = mean[r], scale = rstd[r], rest = static_cast<T>((centre - m.mean) * exact);
      if (g.s == 1) {
        map_vectors(y + r * size, size, past_caches, [=](i64 i, i64 count) {
          const Vec<T> v = (load_n(from + i, count) - centre) * scale + rest;
          return affine_row<T, weighted.value, biased.value>(v, weight, bias, i, count);
        });
        return;
      }
      for (i64 c = 0; c < g.k; ++c) {
        const T w = weighted.value ? weight[c] : T(1), b = biased.value ? bias[c] : T(0);
        const T slope = scale * w, shift = rest * w + b;
        map_vectors(y + r * size + c * g.s, g.s, past_caches,
                    [=](i64 i, i64 count) { return (load_n(from + c * g.s + i, count) - centre) * slope + shift; });
      }
    });
  };
  with_bool(g.weight != nullptr,
            [&](auto weighted) { with_bool(g.bias != nullptr, [&](auto biased) { forward(weighted, biased); }); });
}

// The sums of dy and dy (x - mean) of the n numbers at dy and x, dy = gradient(i, count).
template <class T, class Gradient>
JADRO_INLINE BatchNormSums row_sums(i64 n, const T* x, T centre, Gradient gradient) {
  BatchNormSums sums{0, 0};
  for (i64 at = 0; at < n; at += kRowBlock) {
    FourSums<T> block;
    block.add(at, min(kRowBlock, n - at), [&](i64 i, i64 count) {
      const Vec<T> h = gradient(i, count);
      return Two<T>{h, h * (load_n(x + i, count) - centre)};
    });
    const Two<T> total = block.total();
    sums.dy += sum_lanes<T>(total.a), sums.dy_x += sum_lanes<T>(total.b);
  }
  return sums;
}

// dx = rstd (h - average(h) - xh average(h xh)) with h = dy weight, xh = (x - mean) rstd; dx may be null. dweight and
// dbias [groups,k], both or neither, are added to.
template <class T>
void group_norm_rows_backward(const GroupNormRows<T>& g, const T* dy, const T* x, Range rows, const T* mean,
                              const T* rstd, T* dx, T* dweight, T* dbias, bool past_caches) {
  const i64 size = g.k * g.s;
  const double inverse = 1 / static_cast<double>(size);
  // dx of the n numbers at `at`, h = grad(i, count).
  const auto gradient = [&](i64 at, i64 n, i64 r, const BatchNormSums& sums, auto grad) {
    const double s = rstd[r];
    const T centre = mean[r], factor = size > 1 ? rstd[r] : T(0);  // a number alone is its mean, whatever it is
    const T shift = static_cast<T>(sums.dy * inverse), slope = static_cast<T>(sums.dy_x * s * s * inverse);
    map_vectors(dx + at, n, past_caches, [=](i64 i, i64 count) {
      return (grad(i, count) - shift - (load_n(x + at + i, count) - centre) * slope) * factor;
    });
  };
  const auto of_numbers = [&](auto weighted) {
    for_rows(g, rows, [&](i64 r, i64 group) {
      const T *const in = x + r * size, *const grad = dy + r * size;
      const T* const weight = weighted.value ? g.weight + group * g.k : nullptr;
      const T centre = mean[r], scale = rstd[r];
      if (dx) {
        const auto weigh = [=](i64 i, i64 count) {
          return affine_row<T, weighted.value, false>(load_n(grad + i, count), weight, nullptr, i, count);
        };
        gradient(r * size, size, r, row_sums(size, in, centre, weigh), weigh);
      }
      if (!dweight) return;
      T *const dw = dweight + group * g.k, *const db = dbias + group * g.k;
      for_vectors<T>(size, [&](i64 i, i64 count) {
        const Vec<T> v = load_n(grad + i, count), d = (load_n(in + i, count) - centre) * scale;
        store_n(dw + i, load_n(dw + i, count) + v * d, count);
        store_n(db + i, load_n(db + i, count) + v, count);
      });
    });
  };
  const auto of_channels = [&](auto weighted) {
    for_rows(g, rows, [&](i64 r, i64 group) {
      const auto weight_of = [&](i64 c) { return weighted.value ? g.weight[group * g.k + c] : T(1); };
      BatchNormSums whole{0, 0};
      for (i64 c = 0; c < g.k; ++c) {
        const T* const grad = dy + r * size + c * g.s;
        const BatchNormSums sums =
            row_sums(g.s, x + r * size + c * g.s, mean[r], [=](i64 i, i64 count) { return load_n(grad + i, count); });
        whole.dy += sums.dy * weight_of(c), whole.dy_x += sums.dy_x * weight_of(c);
        if (!dweight) continue;
        dweight[group * g.k + c] += static_cast<T>(sums.dy_x * rstd[r]);
        dbias[group * g.k + c] += static_cast<T>(sums.dy);
      }
      for (i64 c = 0; dx && c < g.k; ++c) {
        const T* const grad = dy + r * size + c * g.s;
        const T w = weight_of(c);
        gradient(r * size + c * g.s, g.s, r, whole, [=](i64 i, i64 count) { return load_n(grad + i, count) * w; });
      }
    });
  };
  with_bool(g.weight != nullptr, [&](auto weighted) { g.s == 1 ? of_numbers(weighted) : of_channels(weighted); });
}

}  // namespace
}  // namespace jadro
