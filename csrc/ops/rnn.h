#pragma once

#include "core/kernel_table.h"
#include "core/rnn_layout.h"

namespace jadro {

// Elements of `reserve` for `tokens` live rows of all steps together.
i64 rnn_reserve_size(const RnnSizes& sizes, bool ragged, i64 tokens);

template <class T>
void rnn_forward(const RnnStackForward<T>& call);
template <class T>
void rnn_backward(const RnnStackBackward<T>& call);

}  // namespace jadro
