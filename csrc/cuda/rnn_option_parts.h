// What the time loop with options shares forward and backward: where rows stand, masks, layer norm, the state that
// enters a step. Cells are those of kernels/rnn_option_cells.h.
#pragma once

#include "core/philox.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "cuda/simd.h"
#include "kernels/rnn_option_cells.h"

namespace jadro::cuda {

// Rows and tokens of one direction, as RnnRows has them. Null pointers: all rows live through all steps and stand as
// they came; no row starts anew.
struct RnnPlaces {
  i64 steps, batch;
  bool reverse;
  const i64 *first, *order, *length;  // [T+1], [N], [N]
  const unsigned char* restart;       // by token

  JADRO_DEVICE i64 time(i64 step) const { return reverse ? steps - 1 - step : step; }
  JADRO_DEVICE i64 at(i64 t) const { return first ? first[t] : t * batch; }
  JADRO_DEVICE i64 rows(i64 t) const { return first ? first[t + 1] - first[t] : batch; }
  JADRO_DEVICE i64 original(i64 n) const { return order ? order[n] : n; }
  JADRO_DEVICE i64 row_steps(i64 n) const { return length ? length[n] : steps; }
  JADRO_DEVICE i64 before(i64 t) const { return reverse ? t + 1 : t - 1; }
  JADRO_DEVICE bool begins(i64 t, i64 n) const { return before(t) < 0 || before(t) >= steps || n >= rows(before(t)); }
  JADRO_DEVICE bool restarts(i64 token) const { return restart && restart[token]; }
};

// One direction of one layer; by token saved [kSaved,H], cells [H], raw_ih and raw_hh [G*H] (W x and U h before layer
// norm), stats [kRnnStats]; h0, h_restart [N,P], c0, c_restart [N,H]. Cells are computed in Sum<T>.
template <class T>
struct OptionRun {
  RnnPlaces places;
  i64 hidden, output, y_row;
  RnnOptions<Sum<T>> options;
  const T *h0, *c0, *h_restart, *c_restart;
  Sum<T>*saved, *cells, *raw_ih, *raw_hh, *stats;

  JADRO_DEVICE bool sequence() const { return options.training && options.drop > 0 && !options.update; }
  JADRO_DEVICE i64 place(i64 t, i64 n) const { return t * places.batch + places.original(n); }
};

// --- masks

// below where word `place` of the stream is below p, else above.
template <class T>
__device__ T drawn(u64 seed, u64 place, T p, T below, T above) {
  const PhiloxBlock block = philox(seed, place / 4);
  const u32 low = place % 2 ? block.word[1] : block.word[0], high = place % 2 ? block.word[3] : block.word[2];
  const u32 word = place / 2 % 2 ? high : low;
  return word >> 8 < philox_threshold(static_cast<float>(p)) ? below : above;
}

template <class T, class C>
__device__ Extra<Sum<T>> extra_of(const OptionRun<T>& a, i64 t, i64 n, i64 u) {
  using S = Sum<T>;
  const RnnOptions<S>& o = a.options;
  const u64 at = static_cast<u64>(a.place(t, n) * a.hidden + u);
  Extra<S> e{};
  if (C::kHasCell && o.zoneout_c > 0) {
    e.keep_c = o.training ? drawn(o.seed, o.at_c + at, o.zoneout_c, S(1), S(0)) : o.zoneout_c;
  }
  const bool drops = o.training && o.update && o.drop > 0;
  e.drop = drops ? drawn(o.seed, o.at_drop + at, o.drop, S(0), S(1) / (S(1) - o.drop)) : S(1);
  e.peephole = o.peep_i != nullptr;
  if (!e.peephole) return e;
  e.p_i = o.peep_i[u];
  if (o.peep_f) e.p_f = o.peep_f[u];
  e.p_o = o.peep_o[u];
  return e;
}

// The share of the old h that zoneout keeps.
template <class T>
__device__ Sum<T> keep_h(const OptionRun<T>& a, i64 t, i64 n, i64 u) {
  using S = Sum<T>;
  const RnnOptions<S>& o = a.options;
  if (!o.training) return o.zoneout_h;
  return drawn(o.seed, o.at_h + static_cast<u64>(a.place(t, n) * a.output + u), o.zoneout_h, S(1), S(0));
}

// Of dropout "sequence": the factor of h where it enters U.
template <class T>
__device__ Sum<T> entering_factor(const OptionRun<T>& a, i64 n, i64 u) {
  using S = Sum<T>;
  const RnnOptions<S>& o = a.options;
  const u64 place = static_cast<u64>(a.places.original(n) * a.output + u);
  return drawn(o.seed, o.at_drop + place, o.drop, S(0), S(1) / (S(1) - o.drop));
}

// --- the state before a step

template <class T>
__device__ Sum<T> h_before(const OptionRun<T>& a, const T* y, i64 t, i64 n, i64 u) {
  const RnnPlaces& p = a.places;
  if (p.restarts(p.at(t) + n)) return number(a.h_restart[n * a.output + u]);
  if (p.begins(t, n)) return number(a.h0[n * a.output + u]);
  return number(y[(p.at(p.before(t)) + n) * a.y_row + u]);
}

// Of a run whose cell states were kept.
template <class T>
__device__ Sum<T> c_before(const OptionRun<T>& a, i64 t, i64 n, i64 u) {
  const RnnPlaces& p = a.places;
  if (p.restarts(p.at(t) + n)) return number(a.c_restart[n * a.hidden + u]);
  if (p.begins(t, n)) return number(a.c0[n * a.hidden + u]);
  return a.cells[(p.at(p.before(t)) + n) * a.hidden + u];
}

// --- layer norm

template <class T>
struct RowNorm {
  T mean, factor;  // 1 / sqrt(variance + eps)
  __device__ T operator()(T v) const { return (v - mean) * factor; }
};

// Where the moments of W x (side 0) or U h (1) stand in a token's kRnnStats numbers.
__device__ inline int stats_at(int side, int group) { return side * 4 + group * 2; }
constexpr int kCellStats = 8;

// out: mean and factor of x[n], by the whole block.
template <class T>
__device__ void moments(const T* x, i64 n, T* shared, T* out) {
  T sum = 0, squares = 0;
  for (i64 i = threadIdx.x; i < n; i += kThreads) sum += x[i];
  const T mean = group_reduce<kThreads>(sum, Add{}, shared) / static_cast<T>(n);
  for (i64 i = threadIdx.x; i < n; i += kThreads) squares += (x[i] - mean) * (x[i] - mean);
  squares = group_reduce<kThreads>(squares, Add{}, shared);
  out[0] = mean;
  out[1] = T(1) / std::sqrt(squares / static_cast<T>(n) + T(1e-5));
}

// Of one side's groups of gates [group0, group1) of a row.
template <class T, class C>
__device__ void gate_moments(const T* row, i64 hidden, int side, int group0, int group1, T* shared, T* out) {
  for (int group = group0; group < group1; ++group) {
    const i64 size = C::group(C::kGates - 1) == 0 ? C::kGates * hidden : group == 0 ? 2 * hidden : hidden;
    moments(row + group * 2 * hidden, size, shared, out + stats_at(side, group));
  }
}

// The moments of W x of all tokens, a block each.
template <class T, class C>
__global__ void __launch_bounds__(kThreads) input_moments_kernel(const T* in, i64 hidden, T* stats) {
  const i64 token = blockIdx.x;
  T found[kRnnStats];
  constexpr int kGroups = C::group(C::kGates - 1) + 1;
  gate_moments<T, C>(in + token * C::kGates * hidden, hidden, 0, 0, kGroups, dynamic_shared<T>(), found);
  if (threadIdx.x != 0) return;
  for (int i = 0; i < 2 * kGroups; ++i) stats[token * kRnnStats + i] = found[i];
}

}  // namespace jadro::cuda
