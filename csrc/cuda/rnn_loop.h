// The time loop of one direction of one layer, with the cells of kernels/rnn_cells.h: a persistent kernel, and the
// kernels of a single step.
//
// In the persistent kernel a block owns a few hidden units. Their rows of U (backward: columns) stay in its shared
// memory; h and da go from step to step through global memory, behind a barrier of the grid. The eight warps of a block
// share out the depth of the product, a lane has one row of the batch, and their sums are added up in the order of the
// warps: an element depends on its own row and on the hidden size alone.
#pragma once

#include "cuda/launch.h"
#include "cuda/map.h"
#include "cuda/simd.h"
#include "kernels/rnn_cells.h"

namespace jadro::cuda {

// in [T,N,G,H]: W x and the biases; bias_n [H]: the GRU's b'_n; h0 [N,H]; y [T,N,..]; cn [N,H]: c at the start and at
// the end; saved [T,N,kSaved,H] and cells [T,N,H] may be null.
template <class T>
struct RnnForward {
  i64 steps, batch, hidden, y_row;
  bool reverse;
  const T *in, *u, *bias_n, *h0;
  T *y, *cn, *saved, *cells;
};

// dh, dc [N,H]: gradients of the last state at the start, of the first at the end; da [T,N,kGrads,H].
template <class T>
struct RnnBackward {
  i64 steps, batch, hidden, y_row;
  bool reverse;
  const T *u, *h0, *c0, *y, *saved, *cells, *dy;
  T *dh, *dc, *da;
};

// Where step t stands: the state before it, and its distance between rows.
template <class T>
struct RnnBefore {
  const T* h;
  i64 row;
};
template <class Loop>
__device__ auto before(const Loop& a, i64 step, i64 t) {
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(a.h0)>>;
  if (step == 0) return RnnBefore<T>{a.h0, a.hidden};
  return RnnBefore<T>{a.y + (a.reverse ? t + 1 : t - 1) * a.batch * a.y_row, a.y_row};
}

// The cell on unit u of row n, from rec[g] = U_g h.
template <class T, class C>
__device__ void cell_forward(const RnnForward<T>& a, i64 t, const RnnBefore<T>& last, i64 n, i64 u, T* rec) {
  const i64 H = a.hidden, token = t * a.batch + n;
  T in[C::kGates], saved[C::kSaved + 1], h_out, c_out = 0;
#pragma unroll
  for (int g = 0; g < C::kGates; ++g) in[g] = a.in[(token * C::kGates + g) * H + u];
  if (C::kRecurrentBias && a.bias_n) rec[C::kGates - 1] += a.bias_n[u];
  const T h = C::kRecurrentBias ? last.h[n * last.row + u] : T(0);
  C::forward(in, rec, h, C::kHasCell ? a.cn[n * H + u] : T(0), &h_out, &c_out, saved);
  a.y[token * a.y_row + u] = h_out;
  if (C::kHasCell) a.cn[n * H + u] = c_out;
  if (C::kHasCell && a.cells) a.cells[token * H + u] = c_out;
  if constexpr (C::kSaved > 0) {
    if (!a.saved) return;
#pragma unroll
    for (int g = 0; g < C::kSaved; ++g) a.saved[(token * C::kSaved + g) * H + u] = saved[g];
  }
}

// da of unit u of row n at step t, from dh and dc, which become those of the step before but for da U.
template <class T, class C>
__device__ void cell_backward(const RnnBackward<T>& a, i64 t, bool first, i64 n, i64 u) {
  const i64 H = a.hidden, token = t * a.batch + n, token_before = (a.reverse ? t + 1 : t - 1) * a.batch + n;
  T saved[C::kSaved + 1], da[C::kGrads], dh_direct, dc = 0, c_before = 0, c = 0;
#pragma unroll
  for (int g = 0; g < C::kSaved; ++g) saved[g] = a.saved[(token * C::kSaved + g) * H + u];
  if (C::kHasCell) {
    dc = a.dc[n * H + u];
    c = a.cells[token * H + u];
    c_before = first ? a.c0[n * H + u] : a.cells[token_before * H + u];
  }
  const T h_before = first ? a.h0[n * H + u] : a.y[token_before * a.y_row + u];
  T dh = a.dh[n * H + u];
  if (a.dy) dh += a.dy[token * a.y_row + u];
  C::backward(saved, a.y[token * a.y_row + u], h_before, c_before, c, dh, &dc, da, &dh_direct);
#pragma unroll
  for (int g = 0; g < C::kGrads; ++g) a.da[(token * C::kGrads + g) * H + u] = da[g];
  a.dh[n * H + u] = dh_direct;
  if (C::kHasCell) a.dc[n * H + u] = dc;
}

// --- single steps

template <class T, class C>
__global__ void forward_step_kernel(RnnForward<T> a, i64 step, const T* rec) {
  const i64 t = a.reverse ? a.steps - 1 - step : step, units = a.batch * a.hidden;
  const RnnBefore<T> last = before(a, step, t);
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < units; i += i64{gridDim.x} * blockDim.x) {
    const i64 n = i / a.hidden, u = i % a.hidden;
    T mine[C::kGates];
#pragma unroll
    for (int g = 0; g < C::kGates; ++g) mine[g] = rec[(n * C::kGates + g) * a.hidden + u];
    cell_forward<T, C>(a, t, last, n, u, mine);
  }
}

template <class T, class C>
__global__ void backward_step_kernel(RnnBackward<T> a, i64 step) {
  const i64 t = a.reverse ? step : a.steps - 1 - step, units = a.batch * a.hidden;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < units; i += i64{gridDim.x} * blockDim.x) {
    cell_backward<T, C>(a, t, step == a.steps - 1, i / a.hidden, i % a.hidden);
  }
}

// --- all steps

constexpr int kLoopRows = 32, kLoopWarps = kThreads / 32, kLoopOutputs = 16;  // outputs of a pass, in registers

template <class T>
struct LoopShape {
  static constexpr int kChunk = 128 / sizeof(T);           // depth that a warp reads at a time
  static constexpr int kStage = kLoopRows * (kChunk + 1);  // its rows of h, or its sums [outputs, rows + 1]
  static_assert(kLoopOutputs * (kLoopRows + 1) <= kStage, "the sums of a pass fit where the rows stood");
  static JADRO_DEVICE i64 padded(i64 depth) { return (depth + 3) / 4 * 4; }
  static std::size_t shared(i64 outputs, i64 depth) {
    return (outputs * padded(depth) + kLoopWarps * kStage) * sizeof(T);
  }
};

// This warp's part of sums[o][row] = sum over k of weights[o][k] source[row][k], left in its stage; weights [outputs,
// padded depth], outputs <= kLoopOutputs, rows <= kLoopRows.
template <class T>
__device__ void multiply_rows(const T* source, i64 row_size, int rows, i64 depth, const T* weights, int outputs,
                              T* stage) {
  constexpr int kChunk = LoopShape<T>::kChunk, kPack = Pack<T>::kSize;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const i64 all = LoopShape<T>::padded(depth), share = LoopShape<T>::padded((all + kLoopWarps - 1) / kLoopWarps);
  const i64 begin = warp * share, end = min(begin + share, all);
  T sums[kLoopOutputs] = {};
  for (i64 k0 = begin; k0 < end; k0 += kChunk) {
    for (int i = lane; i < kLoopRows * kChunk; i += 32) {
      const int row = i / kChunk, k = i % kChunk;
      stage[row * (kChunk + 1) + k] = row < rows && k0 + k < min(end, depth) ? source[row * row_size + k0 + k] : T(0);
    }
    __syncwarp();
    for (int k = 0; k < kChunk && k0 + k < end; k += kPack) {
      T mine[kPack];
#pragma unroll
      for (int j = 0; j < kPack; ++j) mine[j] = stage[lane * (kChunk + 1) + k + j];
#pragma unroll
      for (int o = 0; o < kLoopOutputs; ++o) {
        if (o >= outputs) continue;
        const Pack<T> w = *reinterpret_cast<const Pack<T>*>(weights + o * all + k0 + k);
#pragma unroll
        for (int j = 0; j < kPack; ++j) sums[o] += w.v[j] * mine[j];
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int o = 0; o < kLoopOutputs; ++o) {
    if (o < outputs) stage[o * (kLoopRows + 1) + lane] = sums[o];
  }
}

// The whole sum of one output and row, once all warps have left their parts.
template <class T>
__device__ T total(const T* stages, int output, int row) {
  T sum = 0;
#pragma unroll
  for (int warp = 0; warp < kLoopWarps; ++warp) {
    sum += stages[warp * LoopShape<T>::kStage + output * (kLoopRows + 1) + row];
  }
  return sum;
}

// For rows of the batch and passes over the block's outputs, `each` to a unit: the products, then f(row, unit of the
// block, output of the pass, row of the tile).
template <class T, class F>
__device__ void for_products(const T* source, i64 row_size, i64 batch, i64 depth, const T* weights, int units, int each,
                             T* stages, F f) {
  const int pass = kLoopOutputs / each, warp = static_cast<int>(threadIdx.x) / 32;
  for (i64 row0 = 0; row0 < batch; row0 += kLoopRows) {
    const int rows = static_cast<int>(min(batch - row0, i64{kLoopRows}));
    for (int unit0 = 0; unit0 < units; unit0 += pass) {
      const int some = min(pass, units - unit0);
      multiply_rows(source + row0 * row_size, row_size, rows, depth,
                    weights + unit0 * each * LoopShape<T>::padded(depth), some * each,
                    stages + warp * LoopShape<T>::kStage);
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < rows * some; i += kThreads) {
        f(row0 + i / some, unit0 + i % some, i % some * each, i / some);
      }
      __syncthreads();
    }
  }
}

// The block's rows of U[kGates*H,H], gates of a unit side by side, each [padded H].
template <class T, int kGates>
__device__ void load_rows(const T* u, i64 H, i64 u0, int units, T* weights) {
  const i64 all = LoopShape<T>::padded(H);
  for (i64 i = threadIdx.x; i < units * kGates * all; i += kThreads) {
    const i64 output = i / all, k = i % all, row = output % kGates * H + u0 + output / kGates;
    weights[i] = k < H ? u[row * H + k] : T(0);
  }
  __syncthreads();
}
// Its columns of U[depth,H], each [padded depth].
template <class T>
__device__ void load_columns(const T* u, i64 H, i64 depth, i64 u0, int units, T* weights) {
  const i64 all = LoopShape<T>::padded(depth);
  for (i64 i = threadIdx.x; i < units * all; i += kThreads) {
    const i64 k = i / units, unit = i % units;
    weights[unit * all + k] = k < depth ? u[k * H + u0 + unit] : T(0);
  }
  __syncthreads();
}

template <class T, class C>
__global__ void __launch_bounds__(kThreads) forward_loop_kernel(RnnForward<T> a, int units_each) {
  const i64 H = a.hidden, u0 = static_cast<i64>(blockIdx.x) * units_each;
  const int units = static_cast<int>(min(static_cast<i64>(units_each), H - u0));
  T* const weights = dynamic_shared<T>();
  T* const stages = weights + static_cast<i64>(units_each) * C::kGates * LoopShape<T>::padded(H);
  load_rows<T, C::kGates>(a.u, H, u0, units, weights);
  for (i64 step = 0; step < a.steps; ++step) {
    const i64 t = a.reverse ? a.steps - 1 - step : step;
    const RnnBefore<T> last = before(a, step, t);
    for_products(last.h, last.row, a.batch, H, weights, units, C::kGates, stages,
                 [&](i64 n, int unit, int output, int row) {
                   T rec[C::kGates];
#pragma unroll
                   for (int g = 0; g < C::kGates; ++g) rec[g] = total(stages, output + g, row);
                   cell_forward<T, C>(a, t, last, n, u0 + unit, rec);
                 });
    grid_barrier();
  }
}

template <class T, class C>
__global__ void __launch_bounds__(kThreads) backward_loop_kernel(RnnBackward<T> a, int units_each) {
  const i64 H = a.hidden, depth = C::kGates * H, u0 = static_cast<i64>(blockIdx.x) * units_each;
  const int units = static_cast<int>(min(static_cast<i64>(units_each), H - u0));
  T* const weights = dynamic_shared<T>();
  T* const stages = weights + units_each * LoopShape<T>::padded(depth);
  load_columns(a.u, H, depth, u0, units, weights);
  for (i64 step = 0; step < a.steps; ++step) {
    const i64 t = a.reverse ? step : a.steps - 1 - step;
    for (i64 i = threadIdx.x; i < a.batch * units; i += kThreads) {
      cell_backward<T, C>(a, t, step == a.steps - 1, i / units, u0 + i % units);
    }
    grid_barrier();
    for_products(a.da + t * a.batch * C::kGrads * H, C::kGrads * H, a.batch, depth, weights, units, 1, stages,
                 [&](i64 n, int unit, int output, int row) { a.dh[n * H + u0 + unit] += total(stages, output, row); });
  }
}

}  // namespace jadro::cuda
