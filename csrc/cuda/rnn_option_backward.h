// The time loop with options backward: what one thread does for one unit, the kernels of a step, all steps at once.
//
// dh [N,P] holds what passes U by, dhu [N,P] = da U: the gradient of the state before is dh + mask dhu, and goes to the
// state that was put in its place where the row was cut.
#pragma once

#include "cuda/rnn_loop.h"
#include "cuda/rnn_option_parts.h"

namespace jadro::cuda {

// dc [N,H]; by token da [kGrads,H], with layer norm dw and du [G*H] (gradients of W x and of U h), h_in [P] (the h that
// entered U), reset [H] (r h of the GRU that resets before), dp [P] and shown [H] (gradient and input of the
// projection). grad [N,H]: dL/d(o tanh c) behind the projection, or dL/d(r h); norm, value [N,H]: dL/dLN(c) and c
// before its gain. sums [N,kRowSums,H]: gradients of gain_c, bias_c and the peepholes, a row's added up over the steps.
template <class T>
struct OptionBackward : OptionRun<T> {
  const T *u, *y, *dy, *dcells;
  i64 dcells_row;
  T *da, *dw, *du, *h_in, *reset, *dp, *shown;
  Sum<T>*dh, *dhu, *dc, *dh_restart, *dc_restart, *grad, *norm, *value, *sums;
  bool projected;
};
enum RowSum { kSumGainC, kSumBiasC, kSumPeepI, kSumPeepF, kSumPeepO, kRowSums };

template <class T>
__device__ void add_to_row(const OptionBackward<T>& a, i64 n, RowSum which, i64 u, Sum<T> v) {
  a.sums[(n * kRowSums + which) * a.hidden + u] += v;
}

// Whether the row was cut just behind the step at hand: between it and the step that was done before.
template <class T>
__device__ bool cut_after(const OptionBackward<T>& a, i64 step, i64 n) {
  const RnnPlaces& p = a.places;
  if (!p.restart || step + 1 >= p.steps) return false;
  const i64 t = p.time(step + 1);
  return n < p.rows(t) && p.restart[p.at(t) + n];
}

// dL/dh that comes to unit u of P from the later steps; step -1 is the state at the start.
template <class T>
__device__ Sum<T> incoming_h(const OptionBackward<T>& a, i64 step, i64 n, i64 u) {
  const i64 at = n * a.output + u;
  const Sum<T> by_u = a.dhu[at], v = a.dh[at] + (a.sequence() ? by_u * entering_factor(a, n, u) : by_u);
  if (!cut_after(a, step, n)) return v;
  if (a.dh_restart) a.dh_restart[at] += v;
  return Sum<T>(0);
}
template <class T>
__device__ Sum<T> incoming_c(const OptionBackward<T>& a, i64 step, i64 n, i64 u) {
  const i64 at = n * a.hidden + u;
  const Sum<T> v = a.dc[at];
  if (!cut_after(a, step, n)) return v;
  if (a.dc_restart) a.dc_restart[at] += v;
  return Sum<T>(0);
}

// dL/dh~ of unit u of P, and in *kept what goes to the h before.
template <class T>
__device__ Sum<T> made_gradient(const OptionBackward<T>& a, i64 step, i64 t, i64 n, i64 u, Sum<T>* kept) {
  using S = Sum<T>;
  S dh = incoming_h(a, step, n, u);
  if (a.dy) dh += number(a.dy[(a.places.at(t) + n) * a.y_row + u]);
  *kept = S(0);
  if (!(a.options.zoneout_h > 0)) return dh;
  const S keep = keep_h(a, t, n, u);
  *kept = keep * dh;
  return (S(1) - keep) * dh;
}

// dL/d(o tanh c) of unit u of H; leaves what passes the cell by in dh.
template <class T>
__device__ Sum<T> shown_gradient(const OptionBackward<T>& a, i64 step, i64 t, i64 n, i64 u) {
  if (a.projected) return a.grad[n * a.hidden + u];
  Sum<T> kept;
  const Sum<T> d = made_gradient(a, step, t, n, u, &kept);
  a.dh[n * a.output + u] = kept;
  return d;
}

template <class T, class C>
__device__ void load_saved(const OptionBackward<T>& a, i64 token, i64 u, Sum<T>* saved) {
  for (int g = 0; g < C::kSaved; ++g) saved[g] = a.saved[(token * C::kSaved + g) * a.hidden + u];
}

// The cell on unit u of a row; mean, st: of layer norm of c, null without.
template <class T, class C>
__device__ void option_gradient(const OptionBackward<T>& a, const GateBounds<Sum<T>>& bounds, i64 step, i64 t, i64 n,
                                i64 u, const Sum<T>* mean, const Sum<T>* st) {
  using S = Sum<T>;
  const i64 H = a.hidden, token = a.places.at(t) + n, at = n * H + u;
  S saved[C::kSaved], da[C::kGrads];
  load_saved<T, C>(a, token, u, saved);
  const Extra<S> e = extra_of<T, C>(a, t, n, u);
  T* const to = a.da + token * C::kGrads * H + u;
  if constexpr (C::kHasCell) {
    const S c = c_before(a, t, n, u), c_new = bounded<S>(C::sum(saved, c, e), bounds.cell_clip);
    S dc = incoming_c(a, step, n, u), d_shown;
    if (a.dcells) dc += number(a.dcells[token * a.dcells_row + u]);
    if (st) {
      da[C::kO] = number(to[C::kO * H]);
      d_shown = (a.norm[at] - mean[0] - a.value[at] * mean[1]) * st[1];
    } else {
      const S dh = shown_gradient(a, step, t, n, u), tanh_c = vtanh<S>(c_new);
      da[C::kO] = bounds.sigmoid(saved[C::kO], dh * tanh_c);
      d_shown = dh * saved[C::kO] * (S(1) - tanh_c * tanh_c);
      if (a.shown) a.shown[token * H + u] = static_cast<T>(saved[C::kO] * tanh_c);
    }
    a.dc[at] = C::backward(saved, c, d_shown, dc, e, bounds, da);
    if (e.peephole) {
      add_to_row(a, n, kSumPeepI, u, da[0] * c);
      if (a.options.peep_f) add_to_row(a, n, kSumPeepF, u, da[1] * c);
      add_to_row(a, n, kSumPeepO, u, da[C::kO] * c_new);
    }
  } else {
    S kept;
    const S dh = made_gradient(a, step, t, n, u, &kept);
    C::backward(saved, h_before(a, a.y, t, n, u), dh, e, bounds, da, &kept);
    a.dh[at] = kept;
  }
  for (int g = 0; g < C::kGrads; ++g) to[g * H] = static_cast<T>(da[g]);
}

// --- single steps: a block a row, or with many blocks along y a block a piece of a row

// Through layer norm of c: dL/dLN(c) and the gate o; mean: of d and of d value over the row.
template <class T, class C>
__device__ void open_norm(const OptionBackward<T>& a, const GateBounds<Sum<T>>& bounds, i64 step, i64 t, i64 n,
                          const Sum<T>* st, Sum<T>* shared, Sum<T>* mean) {
  using S = Sum<T>;
  const i64 H = a.hidden, token = a.places.at(t) + n;
  S total = 0, product = 0;
  for (i64 u = threadIdx.x; u < H; u += kThreads) {
    S saved[C::kSaved];
    load_saved<T, C>(a, token, u, saved);
    const S sum = C::sum(saved, c_before(a, t, n, u), extra_of<T, C>(a, t, n, u));
    const S value = RowNorm<S>{st[0], st[1]}(bounded<S>(sum, bounds.cell_clip)), gain = a.options.gain_c[u];
    const S tanh_c = vtanh<S>(value * gain + a.options.bias_c[u]), out = saved[C::kO];
    const S dh = shown_gradient(a, step, t, n, u), d = dh * out * (S(1) - tanh_c * tanh_c);
    a.da[(token * C::kGrads + C::kO) * H + u] = static_cast<T>(bounds.sigmoid(out, dh * tanh_c));
    a.norm[n * H + u] = d * gain;
    a.value[n * H + u] = value;
    total += d * gain;
    product += d * gain * value;
    add_to_row(a, n, kSumGainC, u, d * value);
    add_to_row(a, n, kSumBiasC, u, d);
    if (a.shown) a.shown[token * H + u] = static_cast<T>(out * tanh_c);
  }
  mean[0] = group_reduce<kThreads>(total, Add{}, shared) / static_cast<S>(H);
  mean[1] = group_reduce<kThreads>(product, Add{}, shared) / static_cast<S>(H);
}

// The gradient in a token's da of gate g on one side. The GRU's stand r z m n: n is the input's, m the state's.
template <class C>
__device__ int gradient_of_gate(int g, int side) {
  return C::kGrads > C::kGates && side == 0 && g == C::kGates - 1 ? C::kGrads - 1 : g;
}

// Through layer norm of a group's gates: dw and du from da, factor (d gain - mean(d gain) - value mean(d gain value)).
template <class T, class C>
__device__ void norm_gates(const OptionBackward<T>& a, i64 token, int group, Sum<T>* shared) {
  using S = Sum<T>;
  const i64 H = a.hidden, size = C::kGates * H;
  const int g0 = group == 0 ? 0 : 2, g1 = C::group(C::kGates - 1) > group ? 2 : C::kGates;
  const T* const da = a.da + token * C::kGrads * H;
  for (int side = 0; side < 2; ++side) {
    const S *const raw = (side ? a.raw_hh : a.raw_ih) + token * size, *const st = a.stats + token * kRnnStats;
    const S* const gain = side ? a.options.gain_hh : a.options.gain_ih;
    T* const to = (side ? a.du : a.dw) + token * size;
    const RowNorm<S> norm{st[stats_at(side, group)], st[stats_at(side, group) + 1]};
    S total = 0, product = 0;
    for (int g = g0; g < g1; ++g) {
      for (i64 u = threadIdx.x; u < H; u += kThreads) {
        const S v = number(da[gradient_of_gate<C>(g, side) * H + u]) * gain[g * H + u];
        total += v;
        product += v * norm(raw[g * H + u]);
      }
    }
    const S share = S(1) / static_cast<S>((g1 - g0) * H);
    const S mean = group_reduce<kThreads>(total, Add{}, shared) * share;
    const S slope = group_reduce<kThreads>(product, Add{}, shared) * share;
    for (int g = g0; g < g1; ++g) {
      for (i64 u = threadIdx.x; u < H; u += kThreads) {
        const i64 at = g * H + u;
        const S v = number(da[gradient_of_gate<C>(g, side) * H + u]) * gain[at];
        to[at] = static_cast<T>((v - mean - norm(raw[at]) * slope) * norm.factor);
      }
    }
  }
}

// From dL/dh to the gradient dp of the projection's result.
template <class T>
__global__ void __launch_bounds__(kThreads) open_projection_kernel(OptionBackward<T> a, i64 step) {
  const i64 t = a.places.time(step), size = a.places.rows(t) * a.output;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
    Sum<T> kept;
    a.dp[a.places.at(t) * a.output + i] = static_cast<T>(made_gradient(a, step, t, i / a.output, i % a.output, &kept));
    a.dh[i] = kept;
  }
}

template <class T, class C>
__global__ void __launch_bounds__(kThreads) option_gradient_kernel(OptionBackward<T> a, i64 step) {
  const i64 n = blockIdx.x, t = a.places.time(step), token = a.places.at(t) + n;
  const i64 stride = static_cast<i64>(gridDim.y) * kThreads;
  Sum<T>* const shared = dynamic_shared<Sum<T>>();
  const GateBounds<Sum<T>> bounds(a.options);
  const Sum<T>* st = nullptr;
  Sum<T> mean[2];
  if constexpr (C::kHasCell) {
    if (a.options.gain_c) {
      st = a.stats + token * kRnnStats + kCellStats;
      open_norm<T, C>(a, bounds, step, t, n, st, shared, mean);
    }
  }
  for (i64 u = static_cast<i64>(blockIdx.y) * kThreads + threadIdx.x; u < a.hidden; u += stride) {
    option_gradient<T, C>(a, bounds, step, t, n, u, mean, st);
  }
  if (!a.options.gain_hh) return;
  for (int group = C::kBefore ? 1 : 0; group <= C::group(C::kGates - 1); ++group) {
    norm_gates<T, C>(a, token, group, shared);
  }
}

// The gate r of the GRU that resets before the product, from grad = dL/d(r h).
template <class T, class C>
__global__ void __launch_bounds__(kThreads) reset_gradient_kernel(OptionBackward<T> a, i64 step) {
  const i64 n = blockIdx.x, t = a.places.time(step), H = a.hidden, token = a.places.at(t) + n;
  const i64 stride = static_cast<i64>(gridDim.y) * kThreads;
  const GateBounds<Sum<T>> bounds(a.options);
  for (i64 u = static_cast<i64>(blockIdx.y) * kThreads + threadIdx.x; u < H; u += stride) {
    const Sum<T> d = a.grad[n * H + u], h = number(a.h_in[token * H + u]), reset = a.saved[token * C::kSaved * H + u];
    a.da[token * C::kGrads * H + u] = static_cast<T>(bounds.sigmoid(reset, d * h));
    a.reset[token * H + u] = static_cast<T>(reset * h);
    a.dh[n * H + u] += a.sequence() ? d * reset * entering_factor(a, n, u) : d * reset;
  }
  if (a.options.gain_hh) norm_gates<T, C>(a, token, 0, dynamic_shared<Sum<T>>());
}

// The gradients of the state at the start, in dh and dc.
template <class T>
__global__ void first_gradient_kernel(OptionBackward<T> a) {
  const i64 outs = a.places.batch * a.output, units = a.dc ? a.places.batch * a.hidden : 0;
  const i64 size = outs > units ? outs : units;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
    if (i < outs) a.dh[i] = incoming_h(a, -1, i / a.output, i % a.output);
    if (i < units) a.dc[i] = incoming_c(a, -1, i / a.hidden, i % a.hidden);
  }
}

// h_in of all tokens.
template <class T>
__global__ void entering_kernel(OptionBackward<T> a) {
  for (i64 t = blockIdx.y; t < a.places.steps; t += gridDim.y) {
    const i64 size = a.places.rows(t) * a.output;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
      const i64 n = i / a.output, u = i % a.output;
      const Sum<T> h = h_before(a, a.y, t, n, u);
      a.h_in[a.places.at(t) * a.output + i] = static_cast<T>(a.sequence() ? h * entering_factor(a, n, u) : h);
    }
  }
}

// --- all steps, as backward_loop_kernel, for cells that need no whole rows

template <class T, class C, class Tile>
__global__ void __launch_bounds__(kThreads) option_gradient_loop_kernel(OptionBackward<T> a, LoopGrid grid) {
  const i64 H = a.hidden;
  LoopBlock<T, Tile> block(grid, H, a.places.batch, 1, C::kGates * H);
  const GateBounds<Sum<T>> bounds(a.options);
  block.load_columns(a.u, H);
  for (i64 step = a.places.steps - 1; step >= 0; --step) {
    const i64 t = a.places.time(step), live = a.places.rows(t);
    block.for_cells(0, live, [&](i64 n, i64 u) { option_gradient<T, C>(a, bounds, step, t, n, u, nullptr, nullptr); });
    block.meet();
    block.for_products(a.da + a.places.at(t) * C::kGrads * H, C::kGrads * H, live,
                       [&](i64 n, int unit, int output, int row) {
                         a.dhu[n * H + block.u0 + unit] = total<T, Tile>(block.stages, output, row);
                       });
  }
}

}  // namespace jadro::cuda
