// The time loop of one direction of one layer, with the cells of kernels/rnn_cells.h: a persistent kernel, and the
// kernels of a single step.
//
// In the persistent kernel the weights stay in shared memory (rnn_product.h); h and da go from step to step through
// global memory, and the blocks that share rows of the batch meet after every step. Cells are computed in Sum<T>.
#pragma once

#include "cuda/launch.h"
#include "cuda/rnn_product.h"
#include "cuda/simd.h"
#include "kernels/rnn_cells.h"

namespace jadro::cuda {

// in [T,N,G,H]: W x and the biases; bias_n [H]: the GRU's b'_n; h0 [N,H]; y [T,N,..]; cn [N,H]: c at the start and at
// the end; saved [T,N,kSaved,H] and cells [T,N,H] may be null.
template <class T>
struct RnnForward {
  i64 steps, batch, hidden, y_row;
  bool reverse;
  const Sum<T>* in;
  const T* u;
  const Sum<T>* bias_n;
  const T* h0;
  T* y;
  Sum<T>*cn, *saved, *cells;
};

// dh, dc [N,H]: gradients of the last state at the start, of the first at the end; da [T,N,kGrads,H].
template <class T>
struct RnnBackward {
  i64 steps, batch, hidden, y_row;
  bool reverse;
  const T *u, *h0, *c0, *y;
  const Sum<T>*saved, *cells;
  const T* dy;
  Sum<T>*dh, *dc;
  T* da;
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
__device__ void cell_forward(const RnnForward<T>& a, i64 t, const RnnBefore<T>& last, i64 n, i64 u, Sum<T>* rec) {
  using S = Sum<T>;
  const i64 H = a.hidden, token = t * a.batch + n;
  S in[C::kGates], saved[C::kSaved + 1], h_out, c_out = 0;
#pragma unroll
  for (int g = 0; g < C::kGates; ++g) in[g] = a.in[(token * C::kGates + g) * H + u];
  if (C::kRecurrentBias && a.bias_n) rec[C::kGates - 1] += a.bias_n[u];
  const S h = C::kRecurrentBias ? number(last.h[n * last.row + u]) : S(0);
  C::forward(in, rec, h, C::kHasCell ? a.cn[n * H + u] : S(0), &h_out, &c_out, saved);
  a.y[token * a.y_row + u] = static_cast<T>(h_out);
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
  Sum<T> saved[C::kSaved + 1], da[C::kGrads], dh_direct, dc = 0, c_before = 0, c = 0;
#pragma unroll
  for (int g = 0; g < C::kSaved; ++g) saved[g] = a.saved[(token * C::kSaved + g) * H + u];
  if (C::kHasCell) {
    dc = a.dc[n * H + u];
    c = a.cells[token * H + u];
    c_before = first ? number(a.c0[n * H + u]) : a.cells[token_before * H + u];
  }
  const Sum<T> h_before = number(first ? a.h0[n * H + u] : a.y[token_before * a.y_row + u]);
  Sum<T> dh = a.dh[n * H + u];
  if (a.dy) dh += number(a.dy[token * a.y_row + u]);
  C::backward(saved, number(a.y[token * a.y_row + u]), h_before, c_before, c, dh, &dc, da, &dh_direct);
#pragma unroll
  for (int g = 0; g < C::kGrads; ++g) a.da[(token * C::kGrads + g) * H + u] = static_cast<T>(da[g]);
  a.dh[n * H + u] = dh_direct;
  if (C::kHasCell) a.dc[n * H + u] = dc;
}

// --- single steps

template <class T, class C>
__global__ void forward_step_kernel(RnnForward<T> a, i64 step, const Sum<T>* rec) {
  const i64 t = a.reverse ? a.steps - 1 - step : step, units = a.batch * a.hidden;
  const RnnBefore<T> last = before(a, step, t);
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < units; i += i64{gridDim.x} * blockDim.x) {
    const i64 n = i / a.hidden, u = i % a.hidden;
    Sum<T> mine[C::kGates];
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

template <class T, class C, class Tile>
__global__ void __launch_bounds__(kThreads) forward_loop_kernel(RnnForward<T> a, LoopGrid grid) {
  const i64 H = a.hidden;
  LoopBlock<T, Tile> block(grid, H, a.batch, C::kGates, H);
  block.load_rows(a.u, H);
  for (i64 step = 0; step < a.steps; ++step) {
    const i64 t = a.reverse ? a.steps - 1 - step : step;
    const RnnBefore<T> last = before(a, step, t);
    block.for_products(last.h, last.row, a.batch, [&](i64 n, int unit, int output, int row) {
      Sum<T> rec[C::kGates];
#pragma unroll
      for (int g = 0; g < C::kGates; ++g) rec[g] = total<T, Tile>(block.stages, output + g, row);
      cell_forward<T, C>(a, t, last, n, block.u0 + unit, rec);
    });
    if (step + 1 < a.steps) {
      const i64 token = (a.reverse ? t - 1 : t + 1) * a.batch;
      block.for_cells(0, a.batch, [&](i64 n, i64 u) {
#pragma unroll
        for (int g = 0; g < C::kGates; ++g) prefetch(a.in + ((token + n) * C::kGates + g) * H + u);
      });
    }
    block.meet();
  }
}

template <class T, class C, class Tile>
__global__ void __launch_bounds__(kThreads) backward_loop_kernel(RnnBackward<T> a, LoopGrid grid) {
  const i64 H = a.hidden;
  LoopBlock<T, Tile> block(grid, H, a.batch, 1, C::kGates * H);
  block.load_columns(a.u, H);
  for (i64 step = 0; step < a.steps; ++step) {
    const i64 t = a.reverse ? step : a.steps - 1 - step;
    block.for_cells(0, a.batch, [&](i64 n, i64 u) { cell_backward<T, C>(a, t, step == a.steps - 1, n, u); });
    if (step + 1 < a.steps) {
      const i64 token = (a.reverse ? t + 1 : t - 1) * a.batch;
      block.for_cells(0, a.batch, [&](i64 n, i64 u) {
#pragma unroll
        for (int g = 0; g < C::kSaved; ++g) prefetch(a.saved + ((token + n) * C::kSaved + g) * H + u);
        if (a.dy) prefetch(a.dy + (token + n) * a.y_row + u);
      });
    }
    block.meet();
    block.for_products(a.da + t * a.batch * C::kGrads * H, C::kGrads * H, a.batch,
                       [&](i64 n, int unit, int output, int row) {
                         a.dh[n * H + block.u0 + unit] += total<T, Tile>(block.stages, output, row);
                       });
  }
}

}  // namespace jadro::cuda
