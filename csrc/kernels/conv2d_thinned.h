// Every so many cells of a plane, taken out of it and put back.
#pragma once

#include "core/kernel_table.h"
#include "kernels/simd.h"

namespace jadro {
namespace {

// to[j] = row[j * step], j < count; `width` cells of the row can be read.
template <class T>
JADRO_INLINE void take_row(const T* row, i64 width, i64 count, i64 step, T* to) {
  i64 j = 0;
  if (step == 2) {
    for (; 2 * j + 2 * kLanes<T> <= width && j + kLanes<T> <= count; j += kLanes<T>) {
      const Vec<T> v[] = {load(row + 2 * j), load(row + 2 * j + kLanes<T>)};
      store(to + j, every<T, 2, 0>(v));
    }
  }
  for (; j < count; ++j) to[j] = row[j * step];
}

template <class T>
void take_cells(const ThinPlane& p, const T* plane, T* cells) {
  const T* row = plane + p.first_h * p.width + p.first_w;
  for (i64 i = 0; i < p.rows; ++i, row += p.step_h * p.width, cells += p.columns) {
    take_row(row, p.width - p.first_w, p.columns, p.step_w, cells);
  }
}

template <class T>
JADRO_INLINE void clear(T* to, i64 count) {
  for_vectors<T>(count, [&](i64 i, i64 n) { store_n(to + i, Vec<T>{}, n); });
}

// row[j * step] = from[j], j < count, zeros between and up to `width`.
template <class T>
JADRO_INLINE void spread_row(const T* from, i64 count, i64 step, T* row, i64 width) {
  i64 j = 0;
  if (step == 2) {
    for (; 2 * j + 2 * kLanes<T> <= width && j + kLanes<T> <= count; j += kLanes<T>) {
      const Vec<T> v[] = {load(from + j), Vec<T>{}};
      store(row + 2 * j, in_turn<T, 2, 0>(v));
      store(row + 2 * j + kLanes<T>, in_turn<T, 2, 1>(v));
    }
  }
  clear(row + j * step, width - j * step);
  for (; j < count; ++j) row[j * step] = from[j];
}

template <class T>
void spread_cells(const ThinPlane& p, const T* cells, T* plane) {
  i64 done = 0;  // rows
  for (i64 i = 0; i < p.rows; ++i, cells += p.columns) {
    const i64 row = p.first_h + i * p.step_h;
    clear(plane + done * p.width, (row - done) * p.width + p.first_w);
    spread_row(cells, p.columns, p.step_w, plane + row * p.width + p.first_w, p.width - p.first_w);
    done = row + 1;
  }
  clear(plane + done * p.width, (p.height - done) * p.width);
}

}  // namespace
}  // namespace jadro
