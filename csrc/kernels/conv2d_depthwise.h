// Convolution where a group has few channels: one plane at a time (of a volume all its planes), vectors along the
// image. The plane is copied with its padding and split by the phases of the stride, so that every tap is a constant
// offset from a cell's own place; cells are then computed in one run over all rows, what lies between them included,
// and the rows cut out of it.
#pragma once

#include "core/kernel_table.h"
#include "kernels/conv2d_planes.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

// The copy of one plane: [phase of d][phase of h][phase of w][slices][rows][pitch].
class DepthwisePlane {
 public:
  explicit DepthwisePlane(const Conv2dPass& pass) : p_(pass) {
    const i64 d_reach = reach(p_.tap_d, p_.depths, &d_min_), h_reach = reach(p_.tap_h, p_.taps, &h_min_),
              w_reach = reach(p_.tap_w, p_.taps, &w_min_);
    slices_ = p_.grid_d + d_reach / p_.step_d;
    rows_ = p_.grid_h + h_reach / p_.step_h;
    pitch_ = p_.grid_w + w_reach / p_.step_w;
    // Phases that a tap meets.
    d_phases_ = min(p_.step_d, d_reach + 1), h_phases_ = min(p_.step_h, h_reach + 1);
    w_phases_ = min(p_.step_w, w_reach + 1);
  }

  i64 pitch() const { return pitch_; }          // distance of the rows of a run
  i64 slice() const { return rows_ * pitch_; }  // distance of its slices
  // Length of the run that holds every cell.
  i64 cells() const { return (p_.grid_d - 1) * slice() + (p_.grid_h - 1) * pitch_ + p_.grid_w; }
  i64 size() const { return d_phases_ * h_phases_ * w_phases_ * phase() + kSlack; }
  i64 run_size() const { return cells() + kSlack; }
  i64 tap_offset(i64 t) const {
    const i64 d = p_.tap_d[t / (p_.taps / p_.depths)] - d_min_, h = p_.tap_h[t] - h_min_, w = p_.tap_w[t] - w_min_;
    return ((d % p_.step_d * h_phases_ + h % p_.step_h) * w_phases_ + w % p_.step_w) * phase() +
           d / p_.step_d * slice() + h / p_.step_h * pitch_ + w / p_.step_w;
  }

  // `src`: one channel's volume.
  template <class T>
  void fill(const T* src, T* dst) const {
    const Columns columns{w_min_, p_.step_w, w_phases_, pitch_, phase()};
    for (i64 d = 0; d < d_phases_; ++d) {
      for (i64 h = 0; h < h_phases_; ++h) {
        T* to = dst + (d * h_phases_ + h) * w_phases_ * phase();
        for (i64 k = 0; k < slices_; ++k, to += slice()) {
          const T* const plane = source_plane(p_, src, k * p_.step_d + d + d_min_);
          if (plane && p_.step_h == 1 && p_.step_w == 1 && p_.padding_mode == PaddingMode::kZeros) {
            fill_padded(plane, to);
          } else {
            padded_rows(p_, plane, h + h_min_, p_.step_h, rows_, columns, pitch_, to);
          }
        }
      }
    }
    // Read by the last vectors of a run, times zero for the gradient of the weight: NaN there would count.
    for (i64 i = size() - kSlack; i < size(); i += kLanes<T>) store(dst + i, Vec<T>{});
  }

 private:
  static constexpr i64 kSlack = 128;  // whole vectors, eight at a time, are read and written past the end

  i64 phase() const { return slices_ * slice(); }  // distance of the phases

  // How far the taps of an axis lie apart.
  static i64 reach(const i64* taps, i64 count, i64* least) {
    i64 most = *least = count ? taps[0] : 0;
    for (i64 t = 1; t < count; ++t) {
      *least = min(*least, taps[t]);
      most = max(most, taps[t]);
    }
    return most - *least;
  }

  // Rows in order, by whole vectors: what goes past a row's end is written again with the next.
  template <class T>
  void fill_padded(const T* src, T* dst) const {
    const i64 begin = min(pitch_, max(0, -w_min_)), end = max(begin, min(pitch_, p_.src_w - w_min_));
    const i64 whole = begin + (end - begin) / kLanes<T> * kLanes<T>, rest = end - whole;
    for (i64 r = 0; r < rows_; ++r, dst += pitch_) {
      const i64 h = r + h_min_;
      i64 x = 0;
      if (h >= 0 && h < p_.src_h) {
        const T* const row = src + h * p_.src_w + w_min_;
        for (; x < begin; x += kLanes<T>) store(dst + x, Vec<T>{});
        for (x = begin; x < whole; x += kLanes<T>) store(dst + x, load(row + x));
        if (rest > 0) store(dst + x, load_part(row + x, rest));
        x += rest > 0 ? kLanes<T> : 0;
      }
      for (; x < pitch_; x += kLanes<T>) store(dst + x, Vec<T>{});
    }
  }

  const Conv2dPass& p_;
  i64 d_min_, h_min_, w_min_, slices_, rows_, pitch_, d_phases_, h_phases_, w_phases_;
};

// Scratch: offsets of the taps, sums for the gradient of the weight, and for a batch of items the planes of a group and
// runs. A batch is filled, computed and cut before the next, so that no load waits for the store before it.
template <class T>
struct DepthwiseScratch {
  static constexpr i64 kBatchElements = 12 << 10;
  i64 offsets_size, sums_size, batch, item_planes, item_runs;

  DepthwiseScratch(const Conv2dPass& p, const DepthwisePlane& plane) {
    const i64 words = static_cast<i64>(sizeof(i64) / sizeof(T));
    offsets_size = p.taps * words;
    sums_size = p.in * p.out * p.taps * words;
    item_planes = p.in * plane.size();
    item_runs = p.out * plane.run_size();
    batch = max(1, min(16, kBatchElements / (item_planes + item_runs)));
  }
  i64 total() const { return offsets_size + sums_size + batch * (item_planes + item_runs); }
  i64* offsets(T* scratch) const { return reinterpret_cast<i64*>(scratch); }
  double* sums(T* scratch) const { return reinterpret_cast<double*>(scratch + offsets_size); }
  T* planes(T* scratch) const { return scratch + offsets_size + sums_size; }
  T* runs(T* scratch) const { return planes(scratch) + batch * item_planes; }
};

template <class T>
i64 conv2d_depthwise_scratch(const Conv2dPass& p) {
  return DepthwiseScratch<T>(p, DepthwisePlane(p)).total();
}

// V vectors of a run from q on: the sum over channels and taps of w x.
template <class T, int V>
JADRO_INLINE void depthwise_cells(const Conv2dPass& p, const T* planes, i64 plane_size, const i64* offsets, const T* w,
                                  i64 q, T* run) {
  Vec<T> acc[V] = {};
  for (i64 c = 0; c < p.in; ++c) {
    for (i64 t = 0; t < p.taps; ++t) {
      const T* x = planes + c * plane_size + offsets[t] + q;
      const T tap = w[c * p.w_in + p.place[t]];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[v] += tap * load(x + v * kLanes<T>);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(run + q + v * kLanes<T>, acc[v]);
}

// One row of a run, through the epilogue, to place `start` of a plane of the destination.
template <class T>
JADRO_INLINE void depthwise_row(const Conv2dPass& p, const T* run, T scale, T bias, const T* add,
                                const Rectifier<T>& rectifier, i64 channel, i64 start, T* plane) {
  if (p.dst_step_w > 1 && scale == T(1) && bias == T(0) && !add && !rectifier.on) {
    for (i64 j = 0; j < p.grid_w; ++j) plane[start + j * p.dst_step_w] = run[j];
    return;
  }
  if (p.dst_step_w > 1) {
    for (i64 j = 0, to = start; j < p.grid_w; ++j, to += p.dst_step_w) {
      T y = run[j] * scale + bias;
      if (add) y += add[to];
      plane[to] = rectified(rectifier, channel, y);
    }
    return;
  }
  for (i64 j = 0; j < p.grid_w; j += kLanes<T>) {
    // Inside the plane whole vectors: the rows below come later.
    const bool whole = p.dst_step_h == 1 && p.dst_step_d == 1 && start + j + kLanes<T> <= p.dst_plane();
    const i64 count = whole ? kLanes<T> : min(kLanes<T>, p.grid_w - j);
    Vec<T> v = load(run + j) * scale + bias;
    if (add) v += load_n(add + start + j, count);
    store_n(plane + start + j, rectified(rectifier, channel, v), count);
  }
}

// A run's rows into the plane of number `item` of the images.
template <class T>
void depthwise_rows(const Conv2dProduct<T>& a, const T* run, const DepthwisePlane& geometry, i64 item) {
  const Conv2dPass& p = a.pass;
  const Conv2dEpilogue<T>& e = a.epilogue;
  const i64 channel = item % (p.groups * p.out);
  const T bias = e.bias ? e.bias[channel] : T(0), scale = e.scale ? e.scale[channel] : T(1);
  T* const plane = a.dst + item * p.dst_plane();
  const T* const add = e.add ? e.add + item * p.dst_plane() : nullptr;
  for (i64 k = 0; k < p.grid_d; ++k) {
    for (i64 i = 0; i < p.grid_h; ++i) {
      const i64 row = (p.dst_d0 + k * p.dst_step_d) * p.dst_h + p.dst_h0 + i * p.dst_step_h;
      depthwise_row(p, run + k * geometry.slice() + i * geometry.pitch(), scale, bias, add, e.rectifier, channel,
                    row * p.dst_w + p.dst_w0, plane);
    }
  }
}

// Planes [items] of (image, group); a.w as it stands.
template <class T>
void conv2d_depthwise(const Conv2dProduct<T>& a, Range items, T* scratch) {
  const Conv2dPass& p = a.pass;
  const DepthwisePlane plane(p);
  const DepthwiseScratch<T> layout(p, plane);
  i64* const offsets = layout.offsets(scratch);
  for (i64 t = 0; t < p.taps; ++t) offsets[t] = plane.tap_offset(t);
  T *const planes = layout.planes(scratch), *const runs = layout.runs(scratch);
  const i64 cells = plane.cells(), src_plane = p.src_plane();
  for (i64 first = items.begin; first < items.end; first += layout.batch) {
    const i64 count = min(layout.batch, items.end - first);
    for (i64 c = 0; c < count * p.in; ++c)
      plane.fill(a.src + (first * p.in + c) * src_plane, planes + c * plane.size());
    for (i64 o = 0; o < count * p.out; ++o) {
      const i64 channel = (first * p.out + o) % (p.groups * p.out);
      const T *const x = planes + o / p.out * layout.item_planes, *const w = a.w + channel / p.out * p.w_group +
                                                                             channel % p.out * p.w_out;
      T* const run = runs + o * plane.run_size();
      i64 q = 0;  // eight vectors hide the latency of the sums
      for (; q + 4 * kLanes<T> < cells; q += 8 * kLanes<T>) {
        depthwise_cells<T, 8>(p, x, plane.size(), offsets, w, q, run);
      }
      if (q < cells) depthwise_cells<T, 4>(p, x, plane.size(), offsets, w, q, run);
    }
    for (i64 o = 0; o < count * p.out; ++o) {
      depthwise_rows(a, runs + o * plane.run_size(), plane, first * p.out + o);
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

template <class T>
void depthwise_taps(const T* plane, const i64* offsets, i64 taps, const T* run, i64 cells, double* sums) {
  i64 t = 0;
  for (; t + 8 <= taps; t += 8) depthwise_sums<T, 8>(plane, offsets + t, run, cells, sums + t);
  for (; t + 3 <= taps; t += 3) depthwise_sums<T, 3>(plane, offsets + t, run, cells, sums + t);
  for (; t < taps; ++t) depthwise_sums<T, 1>(plane, offsets + t, run, cells, sums + t);
}

// dy with zeros between its rows and past the last.
template <class T>
void depthwise_run(const DepthwisePlane& plane, const Conv2dPass& p, const T* dy, T* run) {
  const i64 gap = plane.slice() - p.grid_h * plane.pitch();  // between the slices
  for (i64 k = 0; k < p.grid_d; ++k, run += gap) {
    for (i64 i = 0; i < p.grid_h; ++i, dy += p.grid_w, run += plane.pitch()) {
      const bool last_row = i + 1 == p.grid_h, last = last_row && k + 1 == p.grid_d;
      split_row(dy, p.grid_w, {0, 1, 1, last ? p.grid_w + kLanes<T> : plane.pitch() + (last_row ? gap : 0), 0}, run);
    }
  }
}

// One element of dw pixel by pixel: a zero between the rows of a run, times infinity, must not count.
template <class T>
T depthwise_exact(const Conv2dWeight<T>& a, i64 group, i64 o, i64 c, i64 t) {
  const Conv2dPass& p = a.pass;
  double sum = 0;
  for (i64 n = 0; n < p.n; ++n) {
    const T* const x = a.src + ((n * p.groups + group) * p.in + c) * p.src_plane();
    const T* dy = a.dy + ((n * p.groups + group) * p.out + o) * p.grid();
    for (i64 row = 0; row < p.grid_d * p.grid_h; ++row, dy += p.grid_w) {
      const T* const plane = source_plane(p, x, row / p.grid_h * p.step_d + p.tap_d[t / (p.taps / p.depths)]);
      const i64 h = source_cell(p.padding_mode, row % p.grid_h * p.step_h + p.tap_h[t], p.src_h);
      if (!plane || h < 0) continue;
      for (i64 j = 0; j < p.grid_w; ++j) {
        const i64 w = source_cell(p.padding_mode, j * p.step_w + p.tap_w[t], p.src_w);
        if (w >= 0) sum += static_cast<double>(dy[j]) * plane[h * p.src_w + w];
      }
    }
  }
  return static_cast<T>(sum);
}

// dw of the groups [groups], a batch of images at a time.
template <class T>
void conv2d_depthwise_weight(const Conv2dWeight<T>& a, Range groups, T* scratch) {
  const Conv2dPass& p = a.pass;
  const DepthwisePlane plane(p);
  const DepthwiseScratch<T> layout(p, plane);
  i64* const offsets = layout.offsets(scratch);
  for (i64 t = 0; t < p.taps; ++t) offsets[t] = plane.tap_offset(t);
  double* const sums = layout.sums(scratch);
  T *const planes = layout.planes(scratch), *const runs = layout.runs(scratch);
  const i64 cells = plane.cells(), size = p.in * p.out * p.taps;
  for (i64 g = groups.begin; g < groups.end; ++g) {
    for (i64 k = 0; k < size; ++k) sums[k] = 0;
    for (i64 n0 = 0; n0 < p.n; n0 += layout.batch) {
      const i64 count = min(layout.batch, p.n - n0);
      for (i64 n = 0; n < count; ++n) {
        const i64 item = (n0 + n) * p.groups + g;
        for (i64 c = 0; c < p.in; ++c) {
          plane.fill(a.src + (item * p.in + c) * p.src_plane(), planes + n * layout.item_planes + c * plane.size());
        }
        for (i64 o = 0; o < p.out; ++o) {
          depthwise_run(plane, p, a.dy + (item * p.out + o) * p.grid(),
                        runs + n * layout.item_runs + o * plane.run_size());
        }
      }
      for (i64 n = 0; n < count; ++n) {
        for (i64 pair = 0; pair < p.out * p.in; ++pair) {
          const T* const run = runs + n * layout.item_runs + pair / p.in * plane.run_size();
          const T* const x = planes + n * layout.item_planes + pair % p.in * plane.size();
          depthwise_taps(x, offsets, p.taps, run, cells, sums + pair * p.taps);
        }
      }
    }
    for (i64 k = 0; k < size; ++k) {
      const bool finite = sums[k] - sums[k] == 0;
      const i64 pair = k / p.taps;
      a.dw[g * size + k] =
          finite ? static_cast<T>(sums[k]) : depthwise_exact(a, g, pair / p.in, pair % p.in, k % p.taps);
    }
  }
}

}  // namespace
}  // namespace jadro
