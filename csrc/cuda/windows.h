// The windows of pooling along one axis.
#pragma once

#include "cuda/launch.h"

namespace jadro::cuda {

// Window o begins at place o stride - before, and has `kernel` places `dilation` apart; with kernel 0 it is the bin
// floor(o in / out) .. ceil((o + 1) in / out) of adaptive pooling.
struct Windows {
  i64 in, out, kernel, stride, before, after, dilation;

  // Begin and end of window o, padding included.
  JADRO_DEVICE Range window(i64 o) const {
    if (kernel == 0) return {o * in / out, ((o + 1) * in + out - 1) / out};
    const i64 begin = o * stride - before, end = begin + (kernel - 1) * dilation + 1;
    return {begin, end < in + after ? end : in + after};
  }
  // The first place of window o that is inside, and one past the last.
  JADRO_DEVICE Range inside(i64 o) const {
    Range w = window(o);
    if (w.begin < 0) {
      const i64 over = -w.begin % dilation;
      w.begin = over ? dilation - over : 0;
    }
    return {w.begin, w.end < in ? w.end : in};
  }
  // The windows that span place i, whatever the dilation.
  JADRO_DEVICE Range over(i64 i) const {
    if (kernel == 0) return {i * out / in, ((i + 1) * out + in - 1) / in};
    const i64 extent = (kernel - 1) * dilation + 1, last = i + before;
    const i64 begin = last < extent ? 0 : (last - extent) / stride + 1, end = last / stride + 1;
    return {begin, end < out ? end : out};
  }
};

struct Windows3 {
  Windows d, h, w;

  JADRO_DEVICE i64 in() const { return d.in * h.in * w.in; }
  JADRO_DEVICE i64 out() const { return d.out * h.out * w.out; }
};

}  // namespace jadro::cuda
