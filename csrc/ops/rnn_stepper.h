#pragma once

#include <memory>
#include <vector>

#include "ops/rnn_plan.h"

namespace jadro {

// One step a call through all layers of a stack of one direction. Weights are packed and memory is laid out once, so
// that step() allocates nothing. The stack's x and weights are not kept; h [L,N,P] and c [L,N,H] (LSTM) are read and
// overwritten by each step, y [N,P] is the last layer's new h.
template <class T>
class RnnStepper {
 public:
  RnnStepper(const RnnSizes& sizes, T* h, T* c, T* y);
  void pack(const T* const* weights);  // the parameters of each layer, as in RnnStack
  void step(const T* x);               // [N,I]

  i64 work() const { return work_; }  // multiply-adds of a step

 private:
  void run_layers(Range rows, Range units, Range outs, T* scratch, Barrier* barrier) const;

  RnnStack<T> stack_;
  const RnnBatch batch_;
  T* const h_;
  i64 work_ = 0;
  int tasks_;
  bool by_rows_;
  std::vector<const T*> weights_;  // matrices while they are packed, vectors in our own memory
  std::unique_ptr<Scratch<T>> vectors_, outputs_, scratch_;
  std::vector<std::unique_ptr<RnnDirection<T>>> layers_;
};

}  // namespace jadro
