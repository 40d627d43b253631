#include "ops/conv2d_pass.h"

#include <algorithm>

namespace jadro {
namespace {

constexpr i64 kPassDepth = 640;  // of one pass over the depth of a product, about

Range reach(const std::vector<i64>& taps) {
  if (taps.empty()) return {0, 0};
  const auto [least, most] = std::minmax_element(taps.begin(), taps.end());
  return {*least, *most};
}

// Where the grid, the source and the destination are rows without end, as for 1x1 kernels, the images are one row each.
void flatten(Conv2dPass& p) {
  const bool whole = p.taps == 1 && p.tap_d[0] == 0 && p.tap_h[0] == 0 && p.tap_w[0] == 0 && p.step_d == 1 &&
                     p.step_h == 1 && p.step_w == 1 && p.dst_step_d == 1 && p.dst_step_h == 1 && p.dst_step_w == 1 &&
                     p.grid_d == p.src_d && p.grid_h == p.src_h && p.grid_w == p.src_w && p.grid_d == p.dst_d &&
                     p.grid_h == p.dst_h && p.grid_w == p.dst_w;
  if (!whole) return;
  p.grid_w = p.src_w = p.dst_w = p.grid();
  p.grid_d = p.src_d = p.dst_d = p.grid_h = p.src_h = p.dst_h = 1;
}

// From the first to the last element of the kernel that meets more than padding; at least one.
Range met_taps(const Conv2dAxis& a) {
  Range met{0, 0};
  for (i64 k = 0; k < a.kernel; ++k) {
    const i64 first = k * a.dilation - a.before, o = first >= 0 ? 0 : (a.stride - 1 - first) / a.stride;
    if (o >= a.out || o * a.stride + first >= a.in) continue;
    met = {met.end > 0 ? met.begin : k, k + 1};
  }
  return {met.begin, std::max<i64>(1, met.end)};
}

AxisTaps forward_taps(const Conv2dAxis& a, PaddingMode mode) {
  const Range met = mode == PaddingMode::kZeros ? met_taps(a) : Range{0, a.kernel};
  AxisTaps taps;
  taps.reserve(met.end - met.begin);
  for (i64 k = met.begin; k < met.end; ++k) taps.emplace_back(k, k * a.dilation - a.before);
  return taps;
}

i64 cells_of_phase(const Window& window, i64 r, i64 stride) { return (window.size - r + stride - 1) / stride; }

// Phase `r` of a window: its cells r + i stride are reached from dy at i + (begin + r + before - k dilation) / stride,
// for the k where that is whole and some cell is reached.
AxisTaps backward_taps(const Conv2dAxis& a, const Window& window, i64 r) {
  AxisTaps taps;
  const i64 cells = cells_of_phase(window, r, a.stride);
  for (i64 k = 0; k < a.kernel; ++k) {
    const i64 distance = window.begin + r + a.before - k * a.dilation, tap = distance / a.stride;
    if (distance % a.stride == 0 && tap < a.out && tap + cells > 0) taps.emplace_back(k, tap);
  }
  return taps;
}

}  // namespace

Taps::Taps(const Conv2d& s, const AxisTaps& depths, const AxisTaps& rows, const AxisTaps& columns) {
  d.reserve(depths.size());
  for (std::vector<i64>* taps : {&h, &w, &place}) taps->reserve(depths.size() * rows.size() * columns.size());
  for (const auto& depth : depths) {
    d.push_back(depth.second);
    for (const auto& row : rows) {
      for (const auto& column : columns) {
        h.push_back(row.second), w.push_back(column.second);
        place.push_back((depth.first * s.h.kernel + row.first) * s.w.kernel + column.first);
      }
    }
  }
}

void Taps::enter(Conv2dPass& p) const {
  p.taps = static_cast<i64>(h.size()), p.depths = p.taps ? static_cast<i64>(d.size()) : 0;
  p.tap_d = d.data(), p.tap_h = h.data(), p.tap_w = w.data(), p.place = place.data();
  p.reach_h = reach(h), p.reach_w = reach(w);
  const i64 most = std::max<i64>(1, kPassDepth / std::max<i64>(1, p.taps)), passes = (p.in + most - 1) / most;
  p.channels = (p.in + passes - 1) / passes;
}

Taps forward_taps(const Conv2d& s) {
  const PaddingMode mode = s.padding_mode;
  return {s, forward_taps(s.d, mode), forward_taps(s.h, mode), forward_taps(s.w, mode)};
}

Conv2d of_met_taps(const Conv2d& shape) {
  Conv2d s = shape;
  for (Conv2dAxis* a : {&s.d, &s.h, &s.w}) {
    const Range met = s.padding_mode == PaddingMode::kZeros ? met_taps(*a) : Range{0, a->kernel};
    a->after -= (a->kernel - met.end) * a->dilation, a->before -= met.begin * a->dilation;
    a->kernel = met.end - met.begin;
  }
  return s;
}

i64 kernel_size(const Conv2d& s) { return s.d.kernel * s.h.kernel * s.w.kernel; }

Conv2dPass forward_pass(const Conv2d& s, const Taps& taps) {
  Conv2dPass p{};
  p.n = s.n, p.groups = s.groups, p.in = s.ic / s.groups, p.out = s.oc / s.groups;
  p.src_d = s.d.in, p.src_h = s.h.in, p.src_w = s.w.in;
  p.grid_d = p.dst_d = s.d.out, p.grid_h = p.dst_h = s.h.out, p.grid_w = p.dst_w = s.w.out;
  p.step_d = s.d.stride, p.step_h = s.h.stride, p.step_w = s.w.stride;
  p.dst_step_d = p.dst_step_h = p.dst_step_w = 1;
  p.padding_mode = s.padding_mode;
  p.w_taps = p.w_in = kernel_size(s), p.w_out = p.in * p.w_in, p.w_group = p.out * p.w_out;
  taps.enter(p);
  flatten(p);
  return p;
}

Conv2d as_image(const Conv2d& shape) {
  constexpr Conv2dAxis kNone{1, 1, 1, 1, 0, 0, 1};
  const auto single = [](const Conv2dAxis& a) { return a.kernel == 1 && a.before == 0 && a.after == 0; };
  Conv2d s = shape;
  for (int axis = 0; axis < 2 && single(s.w) && s.w.in == 1; ++axis) s.w = s.h, s.h = s.d, s.d = kNone;
  if (s.d.in == 1 || !single(s.h) || !single(s.w) || s.h.stride > 1 || s.w.stride > 1) return s;
  s.w.in *= s.h.in, s.w.out *= s.h.out;
  s.h = s.d, s.d = kNone;
  return s;
}

BackwardPhase::BackwardPhase(const Conv2d& s, const Windows& part, const std::array<i64, 3>& phase)
    : taps(s, backward_taps(s.d, part.d, phase[0]), backward_taps(s.h, part.h, phase[1]),
           backward_taps(s.w, part.w, phase[2])) {
  Conv2dPass& p = pass;
  p.n = s.n, p.groups = s.groups, p.in = s.oc / s.groups, p.out = s.ic / s.groups;
  p.src_d = s.d.out, p.src_h = s.h.out, p.src_w = s.w.out;
  p.grid_d = cells_of_phase(part.d, phase[0], s.d.stride), p.grid_h = cells_of_phase(part.h, phase[1], s.h.stride),
  p.grid_w = cells_of_phase(part.w, phase[2], s.w.stride);
  p.step_d = p.step_h = p.step_w = 1;
  p.dst_d = part.d.size, p.dst_h = part.h.size, p.dst_w = part.w.size;
  p.dst_step_d = s.d.stride, p.dst_step_h = s.h.stride, p.dst_step_w = s.w.stride;
  p.dst_d0 = phase[0], p.dst_h0 = phase[1], p.dst_w0 = phase[2];
  p.w_taps = p.w_out = kernel_size(s), p.w_in = p.out * p.w_out, p.w_group = p.in * p.w_in;
  taps.enter(p);
  flatten(p);
}

}  // namespace jadro
