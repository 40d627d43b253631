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

// Windows of an image, none of adaptive pooling, in 32 bits.
struct ImageWindows {
  struct Span {
    int begin, end;
  };
  struct Axis {
    int in, out, kernel, stride, before, after, dilation;

    explicit Axis(const Windows& w)
        : in(static_cast<int>(w.in)),
          out(static_cast<int>(w.out)),
          kernel(static_cast<int>(w.kernel)),
          stride(static_cast<int>(w.stride)),
          before(static_cast<int>(w.before)),
          after(static_cast<int>(w.after)),
          dilation(static_cast<int>(w.dilation)) {}

    JADRO_DEVICE int extent() const { return (kernel - 1) * dilation + 1; }
    JADRO_DEVICE int begin(int o) const { return o * stride - before; }
    // The windows that span place i, whatever the dilation.
    JADRO_DEVICE Span over(int i) const {
      const int last = i + before, begin = last < extent() ? 0 : (last - extent()) / stride + 1;
      const int end = last / stride + 1;
      return {begin, end < out ? end : out};
    }
    // Places of window o without dilation; those of the padding count, or not.
    JADRO_DEVICE int count(int o, bool padding) const {
      const int first = begin(o), most = padding ? in + after : in;
      const int end = first + kernel < most ? first + kernel : most;
      return end - (first < 0 && !padding ? 0 : first);
    }
    int most_over() const { return (extent() + stride - 1) / stride; }
  };
  Axis h, w;

  explicit ImageWindows(const Windows3& s) : h(s.h), w(s.w) {}
  JADRO_DEVICE i64 in() const { return static_cast<i64>(h.in) * w.in; }
  JADRO_DEVICE i64 out() const { return static_cast<i64>(h.out) * w.out; }
};

inline bool is_image(const Windows3& s) {
  return s.d.in == 1 && s.d.out == 1 && s.d.kernel == 1 && s.d.before == 0 && s.d.after == 0 && s.h.kernel > 0 &&
         s.w.kernel > 0;
}

// A thread for each of `elements` of a plane; it takes several planes where there are many.
inline Grid grid_of_planes(i64 planes, i64 elements) {
  constexpr i64 kPlanes = 4;
  return grid_over(planes * elements < kManyItems ? planes : ceil_div(planes, kPlanes), elements);
}

}  // namespace jadro::cuda
