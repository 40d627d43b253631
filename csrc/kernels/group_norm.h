// Group normalisation where the numbers of a channel are one: rows of x[rows,k], each normalised by itself, with weight
// and bias along the row. Layer norm is this. Where channels have space, batch norm's kernels do the work.
#pragma once

#include "kernels/batch_norm.h"

namespace jadro {
namespace {

// A row by itself, as batch norm's kernels see it.
JADRO_INLINE BatchNorm one_row(i64 k) { return {1, 1, k}; }

// v w + b, where they are there.
template <class T, bool kWeight, bool kBias>
JADRO_INLINE Vec<T> affine_row(Vec<T> v, const T* weight, const T* bias, i64 i, i64 count) {
  if (kWeight) v *= load_n(weight + i, count);
  if (kBias) v += load_n(bias + i, count);
  return v;
}

// y = (x - mean) rstd weight + bias, rows of x[..,k]; row r has the weights (r % groups) k ..., weight and bias may be
// null.
template <class T>
void group_norm_rows_forward(const GroupNormRows<T>& g, const T* x, Range rows, T* y, T* mean, T* rstd) {
  for (i64 r = rows.begin; r < rows.end; ++r) {
    const T* const from = x + r * g.k;
    Moments m;
    T scratch[kLanes<T>];
    batch_norm_moments<T>(one_row(g.k), from, {0, 1}, {0, g.k}, scratch, &m);
    mean[r] = static_cast<T>(m.mean);
    const double exact = 1 / __builtin_sqrt(m.squares / m.count + g.eps);
    rstd[r] = static_cast<T>(exact);
    const T centre = mean[r], scale = rstd[r], rest = static_cast<T>((centre - m.mean) * exact);
    const i64 first = r % g.groups * g.k;
    with_bool(g.weight != nullptr, [&](auto weighted) {
      with_bool(g.bias != nullptr, [&](auto biased) {
        map_vectors(y + r * g.k, g.k, false, [=](i64 i, i64 count) {
          const Vec<T> v = (load_n(from + i, count) - centre) * scale + rest;
          return affine_row<T, weighted.value, biased.value>(v, g.weight + first, g.bias + first, i, count);
        });
      });
    });
  }
}

// dx = rstd (h - average(h) - xh average(h xh)) with h = dy weight, xh = (x - mean) rstd; dx may be null. dweight and
// dbias [groups,k], both or neither, are added to.
template <class T>
void group_norm_rows_backward(const GroupNormRows<T>& g, const T* dy, const T* x, Range rows, const T* mean,
                              const T* rstd, T* dx, T* dweight, T* dbias, bool past_caches) {
  constexpr i64 kBlock = 4096;
  for (i64 r = rows.begin; r < rows.end; ++r) {
    const T *const in = x + r * g.k, *const grad = dy + r * g.k;
    const T centre = mean[r], scale = rstd[r];
    const i64 first = r % g.groups * g.k;
    with_bool(g.weight != nullptr, [&](auto weighted) {
      const auto weigh = [=](i64 i, i64 count) {
        return affine_row<T, weighted.value, false>(load_n(grad + i, count), g.weight + first, nullptr, i, count);
      };
      if (dx) {
        double sum = 0, sum_x = 0;
        for (i64 at = 0; at < g.k; at += kBlock) {
          sum_channels<T>(
              one_row(g.k), {0, 1}, {at, min(at + kBlock, g.k)}, [](auto) { return 0; },
              [&](i64 i, i64 count, int) {
                const Vec<T> h = weigh(i, count);
                return Two<T>{h, h * (load_n(in + i, count) - centre)};
              },
              [&](i64, T a, T b) { sum += a, sum_x += b; });
        }
        const double k = static_cast<double>(g.k), s = scale;
        const T factor = g.k > 1 ? scale : T(0);  // a number alone is its mean, whatever it is
        const T shift = static_cast<T>(sum / k), slope = static_cast<T>(sum_x * s * s / k);
        map_vectors(dx + r * g.k, g.k, past_caches, [=](i64 i, i64 count) {
          return (weigh(i, count) - shift - (load_n(in + i, count) - centre) * slope) * factor;
        });
      }
      if (!dweight) return;
      T *const dw = dweight + first, *const db = dbias + first;
      for_vectors<T>(g.k, [&](i64 i, i64 count) {
        const Vec<T> v = load_n(grad + i, count), d = (load_n(in + i, count) - centre) * scale;
        store_n(dw + i, load_n(dw + i, count) + v * d, count);
        store_n(db + i, load_n(db + i, count) + v, count);
      });
    });
  }
}

}  // namespace
}  // namespace jadro
