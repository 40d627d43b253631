// The one time loop: which cell it runs with. Cells without options have instances of their own.
#pragma once

#include "kernels/rnn_backward.h"
#include "kernels/rnn_forward.h"

namespace jadro {
namespace {

// f(cell) with a value of the cell's type.
template <class T, class F>
void with_cell(Cell cell, bool options, F f) {
  switch (cell) {
    case Cell::kRnnTanh:
      return options ? f(OptionRnn<T, false>()) : f(RnnCell<T, false>());
    case Cell::kRnnRelu:
      return options ? f(OptionRnn<T, true>()) : f(RnnCell<T, true>());
    case Cell::kLstm:
      return options ? f(OptionLstm<T, false>()) : f(LstmCell<T>());
    case Cell::kLstmCoupled:
      return f(OptionLstm<T, true>());
    case Cell::kGru:
      return options ? f(OptionGru<T, false>()) : f(GruCell<T>());
    case Cell::kGruBefore:
      return f(OptionGru<T, true>());
  }
}

template <class T>
void rnn_forward(const RnnForward<T>& a, Range rows, Range units, Range outs, T* scratch, Barrier* barrier) {
  with_cell<T>(a.shape.cell, a.options != nullptr,
               [&](auto cell) { ForwardRun<T, decltype(cell)>(a, rows, units, outs, scratch, barrier).run(); });
}

template <class T>
void rnn_backward(const RnnBackward<T>& a, Range rows, Range units, Range outs, T* scratch, Barrier* barrier) {
  with_cell<T>(a.shape.cell, a.options != nullptr,
               [&](auto cell) { BackwardRun<T, decltype(cell)>(a, rows, units, outs, scratch, barrier).run(); });
}

}  // namespace
}  // namespace jadro
