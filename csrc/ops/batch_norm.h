#pragma once

#include "core/shapes.h"

namespace jadro {

// y[n,c,s] from x, with what may follow: y + add (null: none), rectified. save_affine [2,c] or null takes what the
// backward pass of the rectifier needs: scale and bias of y = (x - save_mean) scale + bias. weight, bias,
// running_mean and running_var [c] or null. Training writes the batch's mean and 1/sqrt(var + eps) to save_mean and
// save_rstd and moves the running moments; evaluation normalises with the running ones.
template <class T>
struct BatchNormForward {
  ChannelShape shape;
  const T *x, *weight, *bias;
  T *running_mean, *running_var;
  T *y, *save_mean, *save_rstd, *save_affine;
  const T* add;
  Rectifier<T> rectifier;
  bool training;
  double momentum, eps;
};

// dx[n,c,s], dweight[c], dbias[c], each of which may be null. affine (save_affine) is given where a rectifier followed,
// and where something was added before it also y and, for its gradient, dadd, which comes with dx.
template <class T>
struct BatchNormBackward {
  ChannelShape shape;
  const T *dy, *x, *weight, *save_mean, *save_rstd, *affine, *y;
  T *dx, *dweight, *dbias, *dadd;
  Rectifier<T> rectifier;
  bool training;
};

template <class T>
void batch_norm_forward(const BatchNormForward<T>& problem);
template <class T>
void batch_norm_backward(const BatchNormBackward<T>& problem);

}  // namespace jadro
