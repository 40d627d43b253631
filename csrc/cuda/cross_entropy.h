#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// The gradients of the losses: one a row, or, with step 0, one for all; over the mean's sum of weights where `sums` is
// not null.
template <class T>
struct LossGradients {
  const T* dlosses;
  i64 step;
  const Sum<T>* sums;
};

// Bytes of scratch memory for the sums.
i64 cross_entropy_scratch(i64 rows);

// losses[rows] and lse[rows] of the problem, whose weight_sum is not read; unless it is null, sums[3]: of the losses,
// of the weights of the targets that count, and their quotient, the mean. A row whose target is neither a class nor
// ignore_index gives NaN. 16-bit scores and weights are computed in float, and so are all three.
template <class T>
cudaError_t cross_entropy_forward(const CrossEntropy<T>& problem, i64 rows, Sum<T>* losses, Sum<T>* lse, Sum<T>* sums,
                                  void* scratch, cudaStream_t stream);

template <class T>
cudaError_t cross_entropy_backward(const CrossEntropy<T>& problem, i64 rows, const Sum<T>* lse,
                                   const LossGradients<T>& gradients, T* dx, cudaStream_t stream);

}  // namespace jadro::cuda
