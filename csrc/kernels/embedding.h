// Table look-up and its gradient.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// y[rows,width] = weight[ids]; the rows to come are asked for.
template <class T>
void embedding_forward(const T* weight, i64 width, const i64* ids, i64 rows, T* y) {
  constexpr i64 kAhead = 4;
  for (i64 r = 0; r < rows; ++r) {
    const T *const from = weight + ids[r] * width, *const next = weight + ids[min(r + kAhead, rows - 1)] * width;
    T* const to = y + r * width;
    for_vectors<T>(width, [&](i64 i, i64 count) {
      __builtin_prefetch(next + i);
      __builtin_prefetch(to + kAhead * width + i, 1);
      store_n(to + i, load_n(from + i, count), count);
    });
  }
}

// dweight[ids[r], columns] += dy[r, columns] in the order of r; rows whose id is skip do not count.
template <class T>
void embedding_backward(const T* dy, i64 width, const i64* ids, i64 rows, i64 skip, Range columns, T* dweight) {
  for (i64 r = 0; r < rows; ++r) {
    if (ids[r] == skip) continue;
    const T* from = dy + r * width + columns.begin;
    T* to = dweight + ids[r] * width + columns.begin;
    for_vectors<T>(columns.end - columns.begin,
                   [&](i64 i, i64 count) { store_n(to + i, load_n(to + i, count) + load_n(from + i, count), count); });
  }
}

}  // namespace
}  // namespace jadro
