// Convolution where a group has few channels: one plane at a time, vectors along the image. The plane is copied with
// its padding and split by the phases of the stride, so that every tap is a constant offset from a cell's own place;
// cells are then computed in one run over all rows, the columns between them included, and the rows cut out of it.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_planes.h"

namespace jadro {
namespace {

// The copy of one plane: [phase of h][phase of w][rows][pitch].
class DepthwisePlane {
 public:
  explicit DepthwisePlane(const Conv2dPass& pass) : p_(pass) {
    i64 h_max = 0, w_max = 0;
    h_min_ = w_min_ = 0;
    for (i64 t = 0; t < p_.taps; ++t) {
      h_min_ = t ? min(h_min_, p_.tap_h[t]) : p_.tap_h[t];
      w_min_ = t ? min(w_min_, p_.tap_w[t]) : p_.tap_w[t];
      h_max = t ? max(h_max, p_.tap_h[t]) : p_.tap_h[t];
      w_max = t ? max(w_max, p_.tap_w[t]) : p_.tap_w[t];
    }
    rows_ = p_.grid_h + (h_max - h_min_) / p_.step_h;
    pitch_ = p_.grid_w + (w_max - w_min_) / p_.step_w;
  }

  i64 pitch() const { return pitch_; }                                // distance of the rows of a run
  i64 cells() const { return (p_.grid_h - 1) * pitch_ + p_.grid_w; }  // length of the run that holds every cell
  i64 size() const { return p_.step_h * p_.step_w * rows_ * pitch_ + kSlack; }
  i64 run_size() const { return cells() + kSlack; }
  i64 tap_offset(i64 t) const {
    const i64 h = p_.tap_h[t] - h_min_, w = p_.tap_w[t] - w_min_;
    return (h % p_.step_h * p_.step_w + w % p_.step_w) * rows_ * pitch_ + h / p_.step_h * pitch_ + w / p_.step_w;
  }

  template <class T>
  void fill(const T* src, T* dst) const {
    for (i64 phase = 0; phase < p_.step_h; ++phase) {
      T* to = dst + phase * p_.step_w * rows_ * pitch_;
      for (i64 r = 0; r < rows_; ++r, to += pitch_) {
        const i64 h = r * p_.step_h + phase + h_min_;
        const bool inside = h >= 0 && h < p_.src_h;
        split_row(src + h * p_.src_w, inside ? p_.src_w : 0, w_min_, p_.step_w, pitch_, rows_ * pitch_, to);
      }
    }
  }

 private:
  static constexpr i64 kSlack = 64;  // whole vectors, four at a time, are read and written past the end

  const Conv2dPass& p_;
  i64 h_min_, w_min_, rows_, pitch_;
};

// Elements of scratch: offsets of the taps, the planes of a group, a run; sums for the gradient of the weight.
template <class T>
i64 conv2d_depthwise_scratch(const Conv2dPass& p) {
  const DepthwisePlane plane(p);
  const i64 words = static_cast<i64>(sizeof(i64) / sizeof(T));
  return (p.taps + p.in * p.out * p.taps) * words + p.in * plane.size() + plane.run_size();
}

template <class T>
struct DepthwiseScratch {
  i64* offsets;
  double* sums;
  T *planes, *run;
  DepthwiseScratch(const Conv2dPass& p, const DepthwisePlane& plane, T* scratch) {
    offsets = reinterpret_cast<i64*>(scratch);
    sums = reinterpret_cast<double*>(offsets + p.taps);
    planes = reinterpret_cast<T*>(sums + p.in * p.out * p.taps);
    run = planes + p.in * plane.size();
    for (i64 t = 0; t < p.taps; ++t) offsets[t] = plane.tap_offset(t);
  }
};

// run[q ... q + V vectors) = bias + sum over channels and taps of w x.
template <class T, int V>
JADRO_INLINE void depthwise_cells(const Conv2dPass& p, const T* planes, i64 plane_size, const i64* offsets, const T* w,
                                  T bias, i64 q, T* run) {
  Vec<T> acc[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) acc[v] = broadcast(bias);
  for (i64 c = 0; c < p.in; ++c) {
    for (i64 t = 0; t < p.taps; ++t) {
      const T* x = planes + c * plane_size + offsets[t] + q;
      const T tap = w[c * p.taps + t];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[v] += tap * load(x + v * kLanes<T>);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) store(run + q + v * kLanes<T>, acc[v]);
}

// Planes [items] of (image, group); a.w is [groups*out, in, taps] as it stands.
template <class T>
void conv2d_depthwise(const Conv2dProduct<T>& a, Range items, T* scratch) {
  const Conv2dPass& p = a.pass;
  const DepthwisePlane plane(p);
  const DepthwiseScratch<T> s(p, plane, scratch);
  const i64 cells = plane.cells();
  for (i64 item = items.begin; item < items.end; ++item) {
    for (i64 c = 0; c < p.in; ++c) {
      plane.fill(a.src + (item * p.in + c) * p.src_h * p.src_w, s.planes + c * plane.size());
    }
    for (i64 o = 0; o < p.out; ++o) {
      const i64 channel = item % p.groups * p.out + o;
      const T* const w = a.w + channel * p.depth();
      const T bias = a.bias ? a.bias[channel] : T(0);
      i64 q = 0;
      for (; q + 3 * kLanes<T> < cells; q += 4 * kLanes<T>) {
        depthwise_cells<T, 4>(p, s.planes, plane.size(), s.offsets, w, bias, q, s.run);
      }
      for (; q < cells; q += kLanes<T>) {
        depthwise_cells<T, 1>(p, s.planes, plane.size(), s.offsets, w, bias, q, s.run);
      }
      T* dst = a.dst + (item * p.out + o) * p.dst_h * p.dst_w + p.dst_h0 * p.dst_w + p.dst_w0;
      for (i64 i = 0; i < p.grid_h; ++i, dst += p.dst_step_h * p.dst_w) {
        const T* const row = s.run + i * plane.pitch();
        if (p.dst_step_w == 1) {
          for_vectors<T>(p.grid_w, [&](i64 j, i64 count) {
            const Vec<T> v = load_n(row + j, count);
            store_n(dst + j, a.relu ? (v < T(0) ? Vec<T>{} : v) : v, count);
          });
        } else {
          for (i64 j = 0; j < p.grid_w; ++j) dst[j * p.dst_step_w] = a.relu && row[j] < T(0) ? T(0) : row[j];
        }
      }
    }
  }
}

// --- the gradient of the weight ----------------------------------------------------------------------------------

// sums[k] += the products of the run of dy with the plane, k taps on.
template <class T, int kTaps>
JADRO_INLINE void depthwise_sums(const T* plane, const i64* offsets, const T* run, i64 cells, double* sums) {
  Vec<T> acc[kTaps] = {};
  for (i64 q = 0; q < cells; q += kLanes<T>) {
    const Vec<T> dy = load(run + q);
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) acc[k] += dy * load(plane + offsets[k] + q);
  }
#pragma GCC unroll 8
  for (int k = 0; k < kTaps; ++k) sums[k] += sum_lanes<T>(acc[k]);
}

// One element of dw pixel by pixel: a zero between the rows of a run, times infinity, must not count.
template <class T>
T depthwise_exact(const Conv2dWeight<T>& a, i64 group, i64 o, i64 c, i64 t) {
  const Conv2dPass& p = a.pass;
  double sum = 0;
  for (i64 n = 0; n < p.n; ++n) {
    const T* const x = a.src + ((n * p.groups + group) * p.in + c) * p.src_h * p.src_w;
    const T* const dy = a.dy + ((n * p.groups + group) * p.out + o) * p.grid_h * p.grid_w;
    for (i64 i = 0; i < p.grid_h; ++i) {
      const i64 h = i * p.step_h + p.tap_h[t];
      if (h < 0 || h >= p.src_h) continue;
      for (i64 j = 0; j < p.grid_w; ++j) {
        const i64 w = j * p.step_w + p.tap_w[t];
        if (w >= 0 && w < p.src_w) sum += static_cast<double>(dy[i * p.grid_w + j]) * x[h * p.src_w + w];
      }
    }
  }
  return static_cast<T>(sum);
}

// dw of the groups [groups].
template <class T>
void conv2d_depthwise_weight(const Conv2dWeight<T>& a, Range groups, T* scratch) {
  const Conv2dPass& p = a.pass;
  const DepthwisePlane plane(p);
  const DepthwiseScratch<T> s(p, plane, scratch);
  const i64 cells = plane.cells(), count = p.in * p.out * p.taps;
  for (i64 x = 0; x < plane.run_size(); ++x) s.run[x] = T(0);
  for (i64 g = groups.begin; g < groups.end; ++g) {
    for (i64 k = 0; k < count; ++k) s.sums[k] = 0;
    for (i64 n = 0; n < p.n; ++n) {
      const i64 item = n * p.groups + g;
      for (i64 c = 0; c < p.in; ++c) {
        plane.fill(a.src + (item * p.in + c) * p.src_h * p.src_w, s.planes + c * plane.size());
      }
      for (i64 o = 0; o < p.out; ++o) {
        const T* const dy = a.dy + (item * p.out + o) * p.grid_h * p.grid_w;
        for (i64 i = 0; i < p.grid_h; ++i) {
          T* const row = s.run + i * plane.pitch();
          for_vectors<T>(p.grid_w, [&](i64 j, i64 n_) { store_n(row + j, load_n(dy + i * p.grid_w + j, n_), n_); });
        }
        for (i64 c = 0; c < p.in; ++c) {
          const T* const x = s.planes + c * plane.size();
          double* const sums = s.sums + (o * p.in + c) * p.taps;
          i64 t = 0;
          for (; t + 8 <= p.taps; t += 8) depthwise_sums<T, 8>(x, s.offsets + t, s.run, cells, sums + t);
          for (; t + 3 <= p.taps; t += 3) depthwise_sums<T, 3>(x, s.offsets + t, s.run, cells, sums + t);
          for (; t < p.taps; ++t) depthwise_sums<T, 1>(x, s.offsets + t, s.run, cells, sums + t);
        }
      }
    }
    for (i64 k = 0; k < count; ++k) {
      const bool finite = s.sums[k] - s.sums[k] == 0;
      const i64 pair = k / p.taps;
      a.dw[g * count + k] =
          finite ? static_cast<T>(s.sums[k]) : depthwise_exact(a, g, pair / p.in, pair % p.in, k % p.taps);
    }
  }
}

}  // namespace
}  // namespace jadro
