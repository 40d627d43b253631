// The input's projections W x + b of the time loop, for some steps at a time.
#pragma once

#include "kernels/rnn_steps.h"

namespace jadro {
namespace {

constexpr i64 kChunkBytes = 384 << 10;  // input projections computed ahead of the loop: they stay in the L2

// Steps whose projections are made at once.
template <class T>
i64 chunk_steps(const Rnn& s, i64 rows, i64 units) {
  const i64 step_bytes = max(1, rows * s.gates() * units * static_cast<i64>(sizeof(T)));
  return max(1, min(s.steps, kChunkBytes / step_bytes));
}

// in[row][gate][unit] = W x + bias for rows of x.
template <class T>
void project_rows(const RnnForward<T>& a, const T* x, i64 x_row, i64 rows, Range units, T* packed, T* in) {
  const Rnn& s = a.shape;
  const i64 width = units.end - units.begin, row_size = s.gates() * width;
  const T* const bias = a.options && a.options->gain_ih ? nullptr : a.bias;
  if (a.unpacked) {
    for (i64 g = 0; g < s.gates(); ++g) {
      const i64 first = g * s.hidden + units.begin;
      unpacked_product<T>(rows, {x, x_row}, s.input, a.w_ih + first * s.input, width, bias ? bias + first : nullptr,
                          in + g * width, row_size);
    }
    return;
  }
  const RowPanels panels(rows);
  const PackedRows<T> packed_x = pack_rows<T>({x, x_row}, s.input, panels, false, packed);
  for (i64 g = 0; g < s.gates(); ++g) {
    const T* const w = a.w_ih + (g * unit_panels<T>(s.hidden) + units.begin / kNr<T>)*s.input * kNr<T>;
    const T* const b = bias ? bias + g * s.hidden + units.begin : nullptr;
    multiply_panels(packed_x, w, s.input, width, b, false, in + g * width, row_size);
  }
}

// The same for all units and a range of tokens: in begins with the first of them.
template <class T>
void rnn_project(const RnnForward<T>& a, Range tokens, T* in, T* scratch) {
  project_rows(a, a.x + tokens.begin * a.shape.x_row, a.shape.x_row, tokens.end - tokens.begin, {0, a.shape.hidden},
               scratch, in);
}

}  // namespace
}  // namespace jadro
