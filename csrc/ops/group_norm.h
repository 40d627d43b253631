#pragma once

#include "core/shapes.h"

namespace jadro {

// Each row's channels in `groups` groups, each to mean 0 and variance 1: layer norm with one group, instance norm with
// one a channel. x[n,c,s]; weight, bias [c] or null; save_mean, save_rstd [n,groups]. Running moments [c] or null, for
// one group a channel: they move by `momentum` towards the mean of the rows' moments.
template <class T>
struct GroupNormForward {
  ChannelShape shape;
  i64 groups;
  const T *x, *weight, *bias;
  T *running_mean, *running_var, *y, *save_mean, *save_rstd;
  double momentum, eps;
};

// dx[n,c,s], dweight[c], dbias[c], each of which may be null.
template <class T>
struct GroupNormBackward {
  ChannelShape shape;
  i64 groups;
  const T *dy, *x, *weight, *save_mean, *save_rstd;
  T *dx, *dweight, *dbias;
};

template <class T>
void group_norm_forward(const GroupNormForward<T>& problem);
template <class T>
void group_norm_backward(const GroupNormBackward<T>& problem);

}  // namespace jadro
