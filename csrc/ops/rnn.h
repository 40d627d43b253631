#pragma once

#include "core/shapes.h"

namespace jadro {

// A whole recurrent layer call: `layers` layers of `directions` directions over [steps, batch, input]. Pointers may be
// null where _core.pyi allows None. weights and dweights: w_ih, w_hh (, b_ih, b_hh) for each layer and direction.
template <class T>
struct RnnStack {
  Cell cell;
  i64 steps, batch, input, hidden, layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
  const T *x, *h0, *c0;
  const T* const* weights;

  i64 gates() const { return Rnn{cell, 0, 0, 0, 0, 0, 0, false}.gates(); }
  i64 weights_per_cell() const { return bias ? 4 : 2; }
  i64 layer_input(i64 layer) const { return layer == 0 ? input : directions * hidden; }
};

template <class T>
struct RnnStackForward {
  RnnStack<T> stack;
  T *y, *hn, *cn, *reserve;
};

template <class T>
struct RnnStackBackward {
  RnnStack<T> stack;
  const T *y, *reserve, *dy, *dhn, *dcn;
  T *dx, *dh0, *dc0;
  T* const* dweights;
};

i64 rnn_reserve_size(Cell cell, i64 steps, i64 batch, i64 hidden, i64 layers, i64 directions, bool dropout);

template <class T>
void rnn_forward(const RnnStackForward<T>& call);
template <class T>
void rnn_backward(const RnnStackBackward<T>& call);

}  // namespace jadro
