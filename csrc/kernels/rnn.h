// The one time loop, forward and backward, for a range of rows and of units of one direction of one layer.
//
// Rows of the batch are independent, so threads either own rows and never meet, or, where the batch is small, own units
// and meet at a barrier each step. The values do not depend on who computes them.
#pragma once

#include "core/kernel_table.h"
#include "core/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/rnn_cells.h"

namespace jadro {
namespace {

constexpr i64 kChunkBytes = 192 << 10;  // input projections computed ahead of the loop: they stay in the L2

template <class T>
i64 unit_panels(i64 units) {
  return ceil_div(units, kNr<T>);
}

// Steps whose projections are made at once.
template <class T>
i64 chunk_steps(const Rnn& s, i64 rows, i64 units) {
  const i64 step_bytes = max(1, rows * s.gates() * units * static_cast<i64>(sizeof(T)));
  return max(1, min(s.steps, kChunkBytes / step_bytes));
}

// W[G*H, k] as G x ceil(H / kNr) panels of W^T: panel (gate, u) at (gate * panels + u) * k * kNr.
template <class T>
void rnn_pack_forward(const T* w, i64 gates, i64 hidden, i64 k, T* dst) {
  for (i64 g = 0; g < gates; ++g, dst += unit_panels<T>(hidden) * k * kNr<T>) {
    pack_b_panels(w + g * hidden * k, 1, k, k, hidden, dst);
  }
}

// U[G*H, H] in passes of at most kKc of its rows: pass p at p * kKc * panels * kNr.
template <class T>
void rnn_pack_backward(const T* u, i64 rows, i64 hidden, T* dst) {
  for (i64 k0 = 0; k0 < rows; k0 += kKc) {
    pack_b_panels(u + k0 * hidden, hidden, 1, min(kKc, rows - k0), hidden, dst);
    dst += kKc * unit_panels<T>(hidden) * kNr<T>;
  }
}

template <class T>
i64 rnn_forward_scratch(const Rnn& s, i64 rows, i64 units) {
  const i64 steps = chunk_steps<T>(s, rows, units);
  return rows * s.hidden + steps * rows * (s.input + s.gates() * units) + 4 * kLanes<T>;
}

// A[rows, k] with rows `row` apart, packed panel by panel.
template <class T>
void pack_rows(const T* source, i64 row, i64 k, const RowPanels& rows, T* dst) {
  for (i64 p = 0; p < rows.count; ++p) {
    pack_a(source + rows.start(p) * row, row, 1, rows.size(p), k, dst + rows.start(p) * k);
  }
}

// in[step][row][gate][unit] = W x + bias for steps [t0, t0 + steps), the thread's rows and units.
template <class T>
void project_input(const RnnForward<T>& a, Range rows, Range units, i64 t0, i64 steps, T* packed, T* in) {
  const Rnn& s = a.shape;
  const i64 height = rows.end - rows.begin, width = units.end - units.begin, row_size = s.gates() * width;
  // With the whole batch the rows of all steps are evenly spaced: one tall matrix. Otherwise one matrix a step.
  const bool tall = height == s.batch;
  const i64 blocks = tall ? 1 : steps, block_rows = tall ? steps * height : height;
  const RowPanels panels(block_rows);
  const i64 u0 = units.begin / kNr<T>;
  for (i64 b = 0; b < blocks; ++b) {
    pack_rows(a.x + ((t0 + b) * s.batch + rows.begin) * s.x_row, s.x_row, s.input, panels,
              packed + b * block_rows * s.input);
  }
  for (i64 g = 0; g < s.gates(); ++g) {
    const T* w = a.w_ih + (g * unit_panels<T>(s.hidden) + u0) * s.input * kNr<T>;
    for (i64 b = 0; b < blocks; ++b) {
      const T* const packed_b = packed + b * block_rows * s.input;
      for_tiles<T>(
          panels, [&](i64 p) { return packed_b + panels.start(p) * s.input; }, w, s.input, width, [](i64, i64, i64) {},
          [&](i64 r0, i64 tile_rows, i64 j0, i64 tile_width, const T* tile) {
            const T* bias = a.bias ? a.bias + g * s.hidden + units.begin + j0 : nullptr;
            store_tile(tile, tile_rows, tile_width, bias, false, in + (b * block_rows + r0) * row_size + g * width + j0,
                       row_size);
          });
    }
  }
}

// The cell on one tile of each gate: `rec` holds kGates tiles, `in` the projections of the tile's first row and unit.
template <class T, class C>
JADRO_INLINE void cell_forward(const RnnForward<T>& a, i64 t, i64 row, i64 rows, i64 unit, i64 width, const T* rec,
                               const T* in, i64 in_row, i64 in_gate, const T* h_prev, i64 h_row) {
  const i64 H = a.shape.hidden;
  for (i64 r = 0; r < rows; ++r) {
    const i64 n = row + r;
    T* y = a.y + (t * a.shape.batch + n) * a.shape.y_row + unit;
    T* c = C::kHasCell ? a.cn + n * H + unit : nullptr;
    T* cells = C::kHasCell && a.cells ? a.cells + (t * a.shape.batch + n) * H + unit : nullptr;
    T* saved = C::kSaved && a.saved ? a.saved + (t * a.shape.batch + n) * C::kSaved * H + unit : nullptr;
    for_vectors<T>(width, [&](i64 j, i64 count) {
      Vec<T> vin[C::kGates], vrec[C::kGates], vsaved[C::kSaved + 1], h_out, c_out{};
#pragma GCC unroll 4
      for (int g = 0; g < C::kGates; ++g) {
        vin[g] = load_n(in + r * in_row + g * in_gate + j, count);
        vrec[g] = load(rec + (g * kMr + r) * kNr<T> + j);
      }
      if (C::kRecurrentBias && a.bias_n) vrec[C::kGates - 1] += load_n(a.bias_n + unit + j, count);
      const Vec<T> h = C::kRecurrentBias ? load_n(h_prev + n * h_row + unit + j, count) : Vec<T>{};
      C::forward(vin, vrec, h, C::kHasCell ? load_n(c + j, count) : Vec<T>{}, &h_out, &c_out, vsaved);
      store_n(y + j, h_out, count);
      if (C::kHasCell) store_n(c + j, c_out, count);
      if (cells) store_n(cells + j, c_out, count);
      if (saved) {
#pragma GCC unroll 4
        for (int g = 0; g < C::kSaved; ++g) store_n(saved + g * H + j, vsaved[g], count);
      }
    });
  }
}

template <class T, class C>
void rnn_forward_cell(const RnnForward<T>& a, Range rows, Range units, T* scratch, Barrier* barrier) {
  const Rnn& s = a.shape;
  const i64 height = rows.end - rows.begin, width = units.end - units.begin, H = s.hidden;
  const i64 chunk = chunk_steps<T>(s, height, width), in_row = C::kGates * width;
  T* const in = scratch;
  T* const packed_h = in + chunk * height * in_row;
  T* const packed_x = packed_h + height * H + kLanes<T>;
  const RowPanels panels(height);
  alignas(64) T rec[C::kGates * kMr * kNr<T>];
  i64 t_low = 0, ready = 0;  // the projections of [t_low, t_low + ready) are made
  for (i64 step = 0; step < s.steps; ++step) {
    const i64 t = s.reverse ? s.steps - 1 - step : step;
    if (ready == 0 || t < t_low || t >= t_low + ready) {
      ready = min(chunk, s.steps - step);
      t_low = s.reverse ? t - ready + 1 : t;
      project_input(a, rows, units, t_low, ready, packed_x, in);
    }
    const i64 t_prev = s.reverse ? t + 1 : t - 1;
    const T* h_prev = step == 0 ? a.h0 : a.y + t_prev * s.batch * s.y_row;
    const i64 h_row = step == 0 ? H : s.y_row;
    pack_rows(h_prev + rows.begin * h_row, h_row, H, panels, packed_h);
    for (i64 u = units.begin; u < units.end; u += kNr<T>) {
      const i64 tile_width = min(kNr<T>, units.end - u);
      for (i64 p = 0; p < panels.count; ++p) {
        const i64 r0 = panels.start(p), tile_rows = panels.size(p);
        const Micro<T> kernel = micro_for<T>(tile_rows, tile_width);
        for (int g = 0; g < C::kGates; ++g) {
          const T* w = a.w_hh + (g * unit_panels<T>(H) + u / kNr<T>)*H * kNr<T>;
          kernel(H, packed_h + r0 * H, tile_rows, w, nullptr, rec + g * kMr * kNr<T>);
        }
        cell_forward<T, C>(a, t, rows.begin + r0, tile_rows, u, tile_width, rec,
                           in + ((t - t_low) * height + r0) * in_row + u - units.begin, in_row, width, h_prev, h_row);
      }
    }
    if (barrier) barrier->wait();
  }
}

// dL/dh of the step that is about to be done, for the thread's rows and units, lives in a.dh; dL/dc in a.dc.
template <class T, class C>
JADRO_INLINE void cell_backward(const RnnBackward<T>& a, i64 t, i64 t_prev, bool first, Range rows, Range units) {
  const Rnn& s = a.shape;
  const i64 H = s.hidden;
  for (i64 n = rows.begin; n < rows.end; ++n) {
    const i64 at = t * s.batch + n, at_prev = t_prev * s.batch + n;
    const T* y = a.y + at * s.y_row;
    const T* h_prev = first ? a.h0 + n * H : a.y + at_prev * s.y_row;
    const T* c_prev = !C::kHasCell ? nullptr : first ? a.c0 + n * H : a.cells + at_prev * H;
    for_vectors<T>(units.end - units.begin, [&](i64 j, i64 count) {
      const i64 u = units.begin + j;
      Vec<T> saved[C::kSaved + 1], da[C::kGrads], dh_direct, dc{};
#pragma GCC unroll 4
      for (int g = 0; g < C::kSaved; ++g) saved[g] = load_n(a.saved + (at * C::kSaved + g) * H + u, count);
      Vec<T> dh = load_n(a.dh + n * H + u, count);
      if (a.dy) dh += load_n(a.dy + at * s.y_row + u, count);
      if (C::kHasCell) dc = load_n(a.dc + n * H + u, count);
      C::backward(saved, load_n(y + u, count), load_n(h_prev + u, count),
                  C::kHasCell ? load_n(c_prev + u, count) : Vec<T>{},
                  C::kHasCell ? load_n(a.cells + at * H + u, count) : Vec<T>{}, dh, &dc, da, &dh_direct);
#pragma GCC unroll 4
      for (int g = 0; g < C::kGrads; ++g) store_n(a.da + (at * C::kGrads + g) * H + u, da[g], count);
      store_n(a.dh + n * H + u, dh_direct, count);
      if (C::kHasCell) store_n(a.dc + n * H + u, dc, count);
    });
  }
}

template <class T>
i64 rnn_backward_scratch(const Rnn& s, i64 rows) {
  return rows * min(kKc, s.gates() * s.hidden) + kLanes<T>;
}

template <class T, class C>
void rnn_backward_cell(const RnnBackward<T>& a, Range rows, Range units, T* scratch, Barrier* barrier) {
  const Rnn& s = a.shape;
  const i64 H = s.hidden, K = C::kGates * H, width = units.end - units.begin;
  const RowPanels panels(rows.end - rows.begin);
  for (i64 step = 0; step < s.steps; ++step) {
    const i64 t = s.reverse ? step : s.steps - 1 - step;
    const i64 t_prev = s.reverse ? t + 1 : t - 1;
    cell_backward<T, C>(a, t, t_prev, step == s.steps - 1, rows, units);
    if (barrier) barrier->wait();
    // dh += da U, over passes of the same depth whatever the split
    for (i64 k0 = 0; k0 < K; k0 += kKc) {
      const i64 kc = min(kKc, K - k0);
      const T* w = a.w_hh + k0 * unit_panels<T>(H) * kNr<T> + units.begin * kc;
      pack_rows(a.da + (t * s.batch + rows.begin) * C::kGrads * H + k0, C::kGrads * H, kc, panels, scratch);
      for_tiles<T>(
          panels, [&](i64 p) { return scratch + panels.start(p) * kc; }, w, kc, width, [](i64, i64, i64) {},
          [&](i64 r0, i64 tile_rows, i64 j0, i64 tile_width, const T* tile) {
            store_tile<T>(tile, tile_rows, tile_width, nullptr, true, a.dh + (rows.begin + r0) * H + units.begin + j0,
                          H);
          });
    }
  }
}

template <class T>
void rnn_forward(const RnnForward<T>& a, Range rows, Range units, T* scratch, Barrier* barrier) {
  switch (a.shape.cell) {
    case Cell::kRnnTanh:
      return rnn_forward_cell<T, RnnCell<T, false>>(a, rows, units, scratch, barrier);
    case Cell::kRnnRelu:
      return rnn_forward_cell<T, RnnCell<T, true>>(a, rows, units, scratch, barrier);
    case Cell::kLstm:
      return rnn_forward_cell<T, LstmCell<T>>(a, rows, units, scratch, barrier);
    case Cell::kGru:
      return rnn_forward_cell<T, GruCell<T>>(a, rows, units, scratch, barrier);
  }
}

template <class T>
void rnn_backward(const RnnBackward<T>& a, Range rows, Range units, T* scratch, Barrier* barrier) {
  switch (a.shape.cell) {
    case Cell::kRnnTanh:
      return rnn_backward_cell<T, RnnCell<T, false>>(a, rows, units, scratch, barrier);
    case Cell::kRnnRelu:
      return rnn_backward_cell<T, RnnCell<T, true>>(a, rows, units, scratch, barrier);
    case Cell::kLstm:
      return rnn_backward_cell<T, LstmCell<T>>(a, rows, units, scratch, barrier);
    case Cell::kGru:
      return rnn_backward_cell<T, GruCell<T>>(a, rows, units, scratch, barrier);
  }
}

}  // namespace
}  // namespace jadro
