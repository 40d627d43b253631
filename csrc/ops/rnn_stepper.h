#pragma once

#include <memory>
#include <vector>

#include "core/kernel_table.h"
#include "core/memory.h"
#include "ops/rnn.h"

namespace jadro {

// One step a call through all layers of a stack of one direction. Weights are packed and memory is laid out once, so
// that step() allocates nothing. The stack's x and weights are not kept; h [L,N,H] and c [L,N,H] (LSTM) are read and
// overwritten by each step, y [N,H] is the last layer's new h.
template <class T>
class RnnStepper {
 public:
  RnnStepper(const RnnStack<T>& stack, T* h, T* c, T* y);
  void pack(const T* const* weights);  // w_ih, w_hh (, b_ih, b_hh) of each layer, as in RnnStack
  void step(const T* x);               // [N,I]

  i64 work() const { return work_; }  // multiply-adds of a step

 private:
  // Where a layer's packed weights and biases stand.
  struct Packed {
    T *w_ih, *w_hh, *bias, *bias_n;
  };

  void run_layers(Range rows, Range units, T* scratch, Barrier* barrier) const;

  const Kernels<T>& kernels_;  // the packing is that of one instruction set
  RnnStack<T> stack_;
  T* const h_;
  i64 work_;
  int tasks_;
  bool by_rows_;
  std::vector<Packed> packed_;
  std::vector<RnnForward<T>> layers_;
  std::unique_ptr<Scratch<T>> weights_, outputs_, scratch_;
};

}  // namespace jadro
