// Softmax cross-entropy, row by row: loss = sum over k of q[k] (lse - x[k]), lse = log(sum of exp(x)), q as
// CrossEntropy says.
#pragma once

#include "kernels/exponential.h"

namespace jadro {
namespace {

JADRO_INLINE float scalar_log(float x) { return __builtin_logf(x); }
JADRO_INLINE double scalar_log(double x) { return __builtin_log(x); }

template <class T>
JADRO_INLINE T row_max(const T* x, i64 n) {
  const T lowest = -__builtin_inff();
  Vec<T> best = broadcast(lowest);
  for_vectors<T>(n, [&](i64 i, i64 count) {
    const Vec<T> v = keep_part<T>(load_n(x + i, count), count, lowest);
    best = v > best ? v : best;
  });
  return max_lanes<T>(best);
}

// Sum of exp(x - peak).
template <class T>
JADRO_INLINE T row_exp_sum(const T* x, i64 n, T peak) {
  Vec<T> sum{};
  for_vectors<T>(n, [&](i64 i, i64 count) { sum += keep_part<T>(vexp<T>(load_n(x + i, count) - peak), count, T(0)); });
  return sum_lanes<T>(sum);
}

// Sum of weight (peak - x + log_sum).
template <class T>
JADRO_INLINE T row_smooth_loss(const T* x, const T* weight, i64 n, T peak, T log_sum) {
  Vec<T> sum{};
  for_vectors<T>(n, [&](i64 i, i64 count) {
    const Vec<T> loss = keep_part<T>((peak - load_n(x + i, count)) + log_sum, count, T(0));
    sum += weight ? loss * load_n(weight + i, count) : loss;
  });
  return sum_lanes<T>(sum);
}

template <class T>
void cross_entropy_forward(const CrossEntropy<T>& s, Range rows, T* losses, T* lse) {
  for (i64 r = rows.begin; r < rows.end; ++r) {
    const T* x = s.x + r * s.classes;
    const T peak = row_max(x, s.classes);
    const T log_sum = scalar_log(row_exp_sum(x, s.classes, peak));
    lse[r] = peak + log_sum;
    const i64 t = s.target[r];
    if (t == s.ignore_index) {
      losses[r] = 0;
      continue;
    }
    losses[r] = static_cast<T>(s.hard) * (s.weight ? s.weight[t] : T(1)) * ((peak - x[t]) + log_sum);
    if (s.smooth != 0) losses[r] += static_cast<T>(s.smooth) * row_smooth_loss(x, s.weight, s.classes, peak, log_sum);
  }
}

// dx[k] = dloss (softmax(x)[k] sum(q) - q[k])
template <class T>
void cross_entropy_backward(const CrossEntropy<T>& s, Range rows, const T* lse, const T* dlosses, T* dx) {
  for (i64 r = rows.begin; r < rows.end; ++r) {
    const T* x = s.x + r * s.classes;
    T* d = dx + r * s.classes;
    const i64 t = s.target[r];
    if (t == s.ignore_index) {
      for_vectors<T>(s.classes, [&](i64 i, i64 count) { store_n(d + i, Vec<T>{}, count); });
      continue;
    }
    const T hard = static_cast<T>(s.hard) * (s.weight ? s.weight[t] : T(1)), smooth = static_cast<T>(s.smooth);
    const T total = hard + smooth * static_cast<T>(s.weight_sum), dloss = dlosses[r];
    for_vectors<T>(s.classes, [&](i64 i, i64 count) {
      const Vec<T> q = smooth * (s.weight ? load_n(s.weight + i, count) : broadcast(T(1)));
      store_n(d + i, dloss * (total * vexp<T>(load_n(x + i, count) - lse[r]) - q), count);
    });
    d[t] -= dloss * hard;
  }
}

}  // namespace
}  // namespace jadro
