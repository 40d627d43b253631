// The time loop with options forward: what one thread does for one unit, the kernels of a step, all steps at once.
#pragma once

#include "cuda/rnn_loop.h"
#include "cuda/rnn_option_parts.h"

namespace jadro::cuda {

// in [tokens,G*H]: W x, and the biases but with layer norm; u [G*H,H]; bias [G*H] with layer norm; bias_n [H]: the
// GRU's b'_n. enter [2,N,P]: the h that enters U at even and at odd steps. c [N,H] at the start and at the end. made
// and out [N,H]: with layer norm c~ before it, and o; shown [N,H]: o tanh c, what is projected; r, z and r h [N,H] of
// the GRU that resets before.
template <class T>
struct OptionForward : OptionRun<T> {
  const T* u;
  const Sum<T>*in, *bias, *bias_n;
  T *enter, *y, *shown, *reset;
  Sum<T>*c, *made, *out, *r, *z;
  bool projected;

  JADRO_DEVICE T* entering(i64 step) const { return enter + step % 2 * this->places.batch * this->output; }
};

// The h that enters U at the step after `step`, from that of this one; before the first, step is -1.
template <class T>
__device__ void enter_next(const OptionForward<T>& a, i64 step, i64 n, i64 u, Sum<T> h) {
  const RnnPlaces& p = a.places;
  if (step + 1 >= p.steps) return;
  const i64 t = p.time(step + 1);
  if (n >= p.rows(t)) return;
  if (p.restarts(p.at(t) + n)) {
    h = number(a.h_restart[n * a.output + u]);
  } else if (p.begins(t, n)) {
    h = number(a.h0[n * a.output + u]);
  }
  if (a.sequence()) h *= entering_factor(a, n, u);
  a.entering(step + 1)[n * a.output + u] = static_cast<T>(h);
}

// h~ of unit u of P becomes h.
template <class T>
__device__ void give_state(const OptionForward<T>& a, i64 step, i64 t, i64 n, i64 u, Sum<T> h) {
  if (a.options.zoneout_h > 0) h = mixed<Sum<T>>(keep_h(a, t, n, u), h_before(a, a.y, t, n, u), h);
  a.y[(a.places.at(t) + n) * a.y_row + u] = static_cast<T>(h);
  enter_next(a, step, n, u, h);
}
template <class T>
__device__ void give(const OptionForward<T>& a, i64 step, i64 t, i64 n, i64 u, Sum<T> h) {
  if (a.projected) {
    a.shown[n * a.hidden + u] = static_cast<T>(h);
  } else {
    give_state(a, step, t, n, u, h);
  }
}

// What gates [g0, g1) are made of; st: the row's moments, null without layer norm.
template <class T, class C>
__device__ void gate_sums(const OptionForward<T>& a, i64 token, i64 u, const Sum<T>* st, int g0, int g1, Sum<T>* in,
                          Sum<T>* rec) {
  for (int g = g0; g < g1; ++g) {
    const i64 at = g * a.hidden + u;
    in[g] = a.in[token * C::kGates * a.hidden + at];
    if (!st) continue;
    const Sum<T>*m = st + stats_at(0, C::group(g)), *k = st + stats_at(1, C::group(g));
    in[g] = RowNorm<Sum<T>>{m[0], m[1]}(in[g]) * a.options.gain_ih[at] + a.bias[at];
    rec[g] = RowNorm<Sum<T>>{k[0], k[1]}(rec[g]) * a.options.gain_hh[at];
  }
  if (C::kRecurrentBias && a.bias_n && g1 == C::kGates) rec[g1 - 1] += a.bias_n[u];
}

template <class T, class C>
__device__ void save(const OptionForward<T>& a, i64 token, i64 u, int g0, int g1, const Sum<T>* values) {
  if (!a.saved) return;
  for (int g = g0; g < g1; ++g) a.saved[(token * C::kSaved + g) * a.hidden + u] = values[g];
}

// The cell on unit u of a live row, from rec[g] = U_g h.
template <class T, class C>
__device__ void option_cell(const OptionForward<T>& a, const GateBounds<Sum<T>>& bounds, i64 step, i64 t, i64 n, i64 u,
                            const Sum<T>* st, Sum<T>* rec) {
  using S = Sum<T>;
  const i64 token = a.places.at(t) + n, at = n * a.hidden + u;
  S in[C::kGates], saved[C::kSaved];
  gate_sums<T, C>(a, token, u, st, 0, C::kGates, in, rec);
  const Extra<S> e = extra_of<T, C>(a, t, n, u);
  if constexpr (C::kHasCell) {
    for (int g = 0; g < C::kGates; ++g) in[g] += rec[g];
    const S old = a.places.restarts(token) ? number(a.c_restart[at]) : a.c[at];
    const S made = C::forward(in, old, e, bounds, saved);
    const S kept = a.options.zoneout_c > 0 ? mixed<S>(e.keep_c, old, made) : made;
    a.c[at] = kept;
    if (a.cells) a.cells[token * a.hidden + u] = kept;
    if (a.options.gain_c) {
      a.made[at] = made;
      a.out[at] = saved[C::kO];
    } else {
      give(a, step, t, n, u, saved[C::kO] * vtanh<S>(made));
    }
  } else if constexpr (!C::kBefore) {
    give(a, step, t, n, u, C::forward(in, rec, h_before(a, a.y, t, n, u), e, bounds, saved));
  }
  save<T, C>(a, token, u, 0, C::kSaved, saved);
}

// --- single steps: a block a row, or with many blocks along y a block a piece of a row

constexpr std::size_t row_shared(std::size_t size) { return (kRnnStats + kThreads / 32) * size; }

// The moments of a row, those of U h made here for groups [group0, group1), in shared memory; null without layer norm.
template <class T, class C>
__device__ const Sum<T>* row_stats(const OptionForward<T>& a, i64 token, const Sum<T>* rec, int group0, int group1,
                                   Sum<T>* shared) {
  if (!a.options.gain_hh) return nullptr;
  Sum<T>* const st = shared + kThreads / 32;
  Sum<T> found[kRnnStats];
  gate_moments<Sum<T>, C>(rec, a.hidden, 1, group0, group1, shared, found);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 4; ++i) st[i] = a.stats[token * kRnnStats + i];
    for (int i = stats_at(1, group0); i < stats_at(1, group1); ++i) {
      st[i] = found[i];
      a.stats[token * kRnnStats + i] = found[i];
    }
  }
  __syncthreads();
  return st;
}

// h~ = o tanh(LN(c~)), by the block that made the row.
template <class T>
__device__ void normed_cells(const OptionForward<T>& a, i64 step, i64 t, i64 n, Sum<T>* shared) {
  using S = Sum<T>;
  const i64 token = a.places.at(t) + n, H = a.hidden;
  const S* const made = a.made + n * H;
  __syncthreads();
  S found[2];
  moments(made, H, shared, found);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) a.stats[token * kRnnStats + kCellStats + i] = found[i];
  }
  for (i64 u = threadIdx.x; u < H; u += kThreads) {
    const S value = RowNorm<S>{found[0], found[1]}(made[u]) * a.options.gain_c[u] + a.options.bias_c[u];
    give(a, step, t, n, u, a.out[n * H + u] * vtanh<S>(value));
  }
}

// Before the first step.
template <class T>
__global__ void enter_kernel(OptionForward<T> a) {
  const i64 size = a.places.batch * a.output, stride = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    enter_next(a, -1, i / a.output, i % a.output, Sum<T>(0));
  }
}

// rec [rows,G*H]. Blocks beyond the live rows bring in those that begin at the next step.
template <class T, class C>
__global__ void __launch_bounds__(kThreads) option_step_kernel(OptionForward<T> a, i64 step, const Sum<T>* rec) {
  using S = Sum<T>;
  const i64 n = blockIdx.x, t = a.places.time(step), H = a.hidden, stride = static_cast<i64>(gridDim.y) * kThreads;
  const i64 first = static_cast<i64>(blockIdx.y) * kThreads + threadIdx.x;
  if (n >= a.places.rows(t)) {
    for (i64 u = first; u < a.output; u += stride) enter_next(a, step, n, u, S(0));
    return;
  }
  const GateBounds<Sum<T>> bounds(a.options);
  const S* const row = rec + n * C::kGates * H;
  const S* const st = row_stats<T, C>(a, a.places.at(t) + n, row, 0, C::group(C::kGates - 1) + 1, dynamic_shared<S>());
  for (i64 u = first; u < H; u += stride) {
    S mine[C::kGates];
    for (int g = 0; g < C::kGates; ++g) mine[g] = row[g * H + u];
    option_cell<T, C>(a, bounds, step, t, n, u, st, mine);
  }
  if (C::kHasCell && a.options.gain_c) normed_cells(a, step, t, n, dynamic_shared<S>());
}

// r, z and r h of the GRU that resets before the product.
template <class T, class C>
__global__ void __launch_bounds__(kThreads) reset_gates_kernel(OptionForward<T> a, i64 step, const Sum<T>* rec) {
  using S = Sum<T>;
  const i64 n = blockIdx.x, t = a.places.time(step), H = a.hidden, token = a.places.at(t) + n;
  const GateBounds<Sum<T>> bounds(a.options);
  const S* const row = rec + n * C::kGates * H;
  const S* const st = row_stats<T, C>(a, token, row, 0, 1, dynamic_shared<S>());
  const i64 stride = static_cast<i64>(gridDim.y) * kThreads;
  for (i64 u = static_cast<i64>(blockIdx.y) * kThreads + threadIdx.x; u < H; u += stride) {
    S in[C::kGates], mine[C::kGates], saved[C::kSaved];
    for (int g = 0; g < 2; ++g) mine[g] = row[g * H + u];
    gate_sums<T, C>(a, token, u, st, 0, 2, in, mine);
    C::gates(in, mine, bounds, saved);
    a.r[n * H + u] = saved[0];
    a.z[n * H + u] = saved[1];
    a.reset[n * H + u] = static_cast<T>(saved[0] * number(a.entering(step)[n * H + u]));
    save<T, C>(a, token, u, 0, 2, saved);
  }
}

// Its n and h, from rec with U_n (r h).
template <class T, class C>
__global__ void __launch_bounds__(kThreads) reset_results_kernel(OptionForward<T> a, i64 step, const Sum<T>* rec) {
  using S = Sum<T>;
  const i64 n = blockIdx.x, t = a.places.time(step), H = a.hidden, stride = static_cast<i64>(gridDim.y) * kThreads;
  const i64 first = static_cast<i64>(blockIdx.y) * kThreads + threadIdx.x, token = a.places.at(t) + n;
  if (n >= a.places.rows(t)) {
    for (i64 u = first; u < H; u += stride) enter_next(a, step, n, u, S(0));
    return;
  }
  const GateBounds<Sum<T>> bounds(a.options);
  const S* const row = rec + n * C::kGates * H;
  const S* const st = row_stats<T, C>(a, token, row, 1, 2, dynamic_shared<S>());
  for (i64 u = first; u < H; u += stride) {
    S in[C::kGates], mine[C::kGates], saved[C::kSaved] = {a.r[n * H + u], a.z[n * H + u]};
    mine[2] = row[2 * H + u];
    gate_sums<T, C>(a, token, u, st, 2, 3, in, mine);
    const S h = h_before(a, a.y, t, n, u);
    give(a, step, t, n, u, C::result(in[2], mine[2], h, extra_of<T, C>(a, t, n, u), bounds, saved));
    save<T, C>(a, token, u, 2, 3, saved);
  }
}

// h of all rows from h~ [N,P] = W_hr (o tanh c).
template <class T>
__global__ void __launch_bounds__(kThreads) give_kernel(OptionForward<T> a, i64 step, const Sum<T>* made, i64 rows) {
  const i64 t = a.places.time(step), size = rows * a.output, stride = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    const i64 n = i / a.output, u = i % a.output;
    if (n < a.places.rows(t)) {
      give_state(a, step, t, n, u, made[i]);
    } else {
      enter_next(a, step, n, u, Sum<T>(0));
    }
  }
}

// --- all steps, as forward_loop_kernel, for cells that need no whole rows

template <class T, class C, class Tile>
__global__ void __launch_bounds__(kThreads) option_loop_kernel(OptionForward<T> a, LoopGrid grid) {
  const i64 H = a.hidden, batch = a.places.batch;
  LoopBlock<T, Tile> block(grid, H, batch, C::kGates, H);
  const GateBounds<Sum<T>> bounds(a.options);
  block.load_rows(a.u, H);
  for (i64 step = 0; step < a.places.steps; ++step) {
    const i64 t = a.places.time(step), live = a.places.rows(t);
    block.for_products(a.entering(step), H, live, [&](i64 n, int unit, int output, int row) {
      Sum<T> rec[C::kGates];
#pragma unroll
      for (int g = 0; g < C::kGates; ++g) rec[g] = total<T, Tile>(block.stages, output + g, row);
      option_cell<T, C>(a, bounds, step, t, n, block.u0 + unit, nullptr, rec);
    });
    block.for_cells(live, batch, [&](i64 n, i64 u) { enter_next(a, step, n, u, Sum<T>(0)); });
    block.meet();
  }
}

}  // namespace jadro::cuda
