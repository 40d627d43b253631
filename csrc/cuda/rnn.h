#pragma once

#include "core/rnn_layout.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// kPersistent: one launch runs all steps, with the weights in shared memory; kSteps: a product and the cell a step.
// kAuto takes the first where the weights fit, which depends on the hidden size and the card alone.
enum class RnnAlgorithm { kAuto, kPersistent, kSteps };

// A whole recurrent layer call, as the CPU has it: arrays lie on the device, but for lengths and reset. 16-bit floats
// are what products multiply; sums, cells and what is kept for backward are float.
template <class T>
struct RnnStack : jadro::RnnStack<T> {
  RnnAlgorithm algorithm;
  const RnnRows* rows;  // null: the cells without options, of all rows through all steps

  i64 index_of(i64 layer, i64 d) const { return layer * this->directions + d; }
  i64 tokens() const { return rows ? rows->tokens() : this->steps * this->batch; }
  bool ragged() const { return rows && rows->ragged(); }
  bool lstm() const { return is_lstm(this->cell); }
  i64 grads() const { return this->cell == Cell::kGru ? 4 : this->gates(); }
};

template <class T>
struct RnnStackForward {
  RnnStack<T> stack;
  T *y, *hn, *cn, *cells;
  Sum<T>* reserve;
};

template <class T>
struct RnnStackBackward {
  RnnStack<T> stack;
  const T* y;
  const Sum<T>* reserve;
  const T *dy, *dhn, *dcn, *dcells;
  T *dx, *dh0, *dc0, *dreset_h, *dreset_c;
  T* const* dweights;
};

// Elements of `reserve`; of cells with options from `tokens`, the live rows of all steps.
template <class T>
i64 rnn_reserve_size(const RnnStack<T>& stack);
i64 rnn_options_reserve_size(const RnnSizes& sizes, bool ragged, i64 tokens);

// Whether all steps can run in one launch: the weights of one direction fit in the current device's shared memory, and
// no option wants whole rows of a step.
template <class T>
bool rnn_is_persistent(const RnnStack<T>& stack);

// Bytes of scratch memory.
template <class T>
i64 rnn_forward_scratch(const RnnStackForward<T>& call);
template <class T>
i64 rnn_backward_scratch(const RnnStackBackward<T>& call);

template <class T>
cudaError_t rnn_forward(const RnnStackForward<T>& call, void* scratch, cudaStream_t stream);
template <class T>
cudaError_t rnn_backward(const RnnStackBackward<T>& call, void* scratch, cudaStream_t stream);

// The same for stacks with rows.
template <class T>
i64 rnn_options_forward_scratch(const RnnStackForward<T>& call);
template <class T>
i64 rnn_options_backward_scratch(const RnnStackBackward<T>& call);
template <class T>
cudaError_t rnn_options_forward(const RnnStackForward<T>& call, void* scratch, cudaStream_t stream);
template <class T>
cudaError_t rnn_options_backward(const RnnStackBackward<T>& call, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
