#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// y[n,c,s] from x, and + add, rectified; pointers may be null as in ops/batch_norm.h, whose equations
// these are. 16-bit floats are computed in float, and so are the moments kept.
template <class T>
struct BatchNormForward {
  ChannelShape shape;
  const T *x, *weight, *bias;
  T *running_mean, *running_var;
  T* y;
  Sum<T>*save_mean, *save_rstd, *save_affine;
  const T* add;
  Rectifier<T, Sum<T>> rectifier;
  bool training;
  double momentum, eps;
};

template <class T>
struct BatchNormBackward {
  ChannelShape shape;
  const T *dy, *x, *weight, *y;
  const Sum<T>*save_mean, *save_rstd, *affine;
  T *dx, *dweight, *dbias, *dadd;
  Rectifier<T, Sum<T>> rectifier;
  bool training;
};

// Bytes of scratch memory, of both.
i64 batch_norm_scratch(const ChannelShape& shape);

template <class T>
cudaError_t batch_norm_forward(const BatchNormForward<T>& problem, void* scratch, cudaStream_t stream);
template <class T>
cudaError_t batch_norm_backward(const BatchNormBackward<T>& problem, void* scratch, cudaStream_t stream);

}  // namespace jadro::cuda
