#pragma once

#include "core/shapes.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// kPersistent: one launch runs all steps, with the weights in shared memory; kSteps: a product and the cell a step.
// kAuto takes the first where the weights fit, which depends on the hidden size and the card alone.
enum class RnnAlgorithm { kAuto, kPersistent, kSteps };

// A whole recurrent layer call, as ops/rnn.h has it for the CPU. Pointers may be null where _core.pyi allows None.
// weights and dweights: w_ih, w_hh (, b_ih, b_hh) for each layer and direction.
template <class T>
struct RnnStack {
  Cell cell;
  i64 steps, batch, input, hidden, layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
  const T *x, *h0, *c0;
  const T* const* weights;
  RnnAlgorithm algorithm;

  i64 gates() const { return cell == Cell::kLstm ? 4 : cell == Cell::kGru ? 3 : 1; }
  i64 saved() const { return gates() > 1 ? 4 : 0; }  // numbers that a unit keeps for backward
  i64 grads() const { return gates() > 1 ? 4 : 1; }
  i64 weights_per_cell() const { return bias ? 4 : 2; }
  i64 layer_input(i64 layer) const { return layer == 0 ? input : directions * hidden; }
  i64 tokens() const { return steps * batch; }
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

// Elements of `reserve`, which stands as the CPU's does.
template <class T>
i64 rnn_reserve_size(const RnnStack<T>& stack);

// Whether the weights of one direction fit in the current device's shared memory.
template <class T>
bool rnn_is_persistent(const RnnStack<T>& stack);

// Elements of scratch memory.
template <class T>
i64 rnn_forward_scratch(const RnnStackForward<T>& call);
template <class T>
i64 rnn_backward_scratch(const RnnStackBackward<T>& call);

template <class T>
cudaError_t rnn_forward(const RnnStackForward<T>& call, T* scratch, cudaStream_t stream);
template <class T>
cudaError_t rnn_backward(const RnnStackBackward<T>& call, T* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
