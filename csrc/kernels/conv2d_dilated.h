// A plane sorted by the phases of a dilation, an image of its own for each, and put together again.
#pragma once

#include "kernels/conv2d_planes.h"

namespace jadro {
namespace {

template <class T>
void split_phases(const PhasePlane& p, const T* plane, T* phases) {
  Conv2dPass source{};
  source.src_h = p.height, source.src_w = p.width, source.padding_mode = PaddingMode::kZeros;
  const Columns columns{-p.lead_w, p.step_w, p.step_w, p.columns, p.phase};
  for (i64 f = 0; f < p.step_h; ++f) {
    padded_rows(source, plane, f - p.lead_h, p.step_h, p.rows, columns, p.columns, phases + f * p.step_w * p.phase);
  }
}

// row[x] = from[(x + lead_w) % step_w * phase + (x + lead_w) / step_w]
template <class T>
void join_row(const PhasePlane& p, const T* from, T* row) {
  i64 x = 0, f = p.lead_w, j = 0;
  const auto copy_until = [&](i64 end) {
    for (; x < end; ++x) {
      row[x] = from[f * p.phase + j];
      if (++f == p.step_w) f = 0, ++j;
    }
  };
  copy_until(f > 0 ? min(p.width, p.step_w - f) : 0);
  for (; p.step_w == 2 && x + 2 * kLanes<T> <= p.width; x += 2 * kLanes<T>, j += kLanes<T>) {
    const Vec<T> v[] = {load(from + j), load(from + p.phase + j)};
    for_in_turn<T, 2>(v, [&](int part, Vec<T> woven) { store(row + x + part * kLanes<T>, woven); });
  }
  copy_until(p.width);
}

template <class T>
void join_phases(const PhasePlane& p, const T* phases, T* plane) {
  i64 f = p.lead_h, i = 0;
  for (i64 row = 0; row < p.height; ++row, plane += p.width) {
    join_row(p, phases + f * p.step_w * p.phase + i * p.columns, plane);
    if (++f == p.step_h) f = 0, ++i;
  }
}

}  // namespace
}  // namespace jadro
