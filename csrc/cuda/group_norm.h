#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// As ops/group_norm.h: x[n,c,s], save_mean and save_rstd [n,groups], all else that may be null [c]. 16-bit floats are
// computed in float, and so are the moments kept.
template <class T>
struct GroupNormForward {
  ChannelShape shape;
  i64 groups;
  const T *x, *weight, *bias;
  T *running_mean, *running_var, *y;
  Sum<T>*save_mean, *save_rstd;
  double momentum, eps;
};

template <class T>
struct GroupNormBackward {
  ChannelShape shape;
  i64 groups;
  const T *dy, *x, *weight;
  const Sum<T>*save_mean, *save_rstd;
  T *dx, *dweight, *dbias;
};

// Bytes of scratch memory, of both.
i64 group_norm_scratch(const ChannelShape& shape, i64 groups);

template <class T>
cudaError_t group_norm_forward(const GroupNormForward<T>& problem, void* scratch, cudaStream_t stream);
template <class T>
cudaError_t group_norm_backward(const GroupNormBackward<T>& problem, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
