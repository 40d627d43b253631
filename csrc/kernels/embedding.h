// Table look-up and its gradient.
#pragma once

#include <cstring>

#include "kernels/simd.h"

namespace jadro {
namespace {

// y[rows,width] = weight[ids]
template <class T>
void embedding_forward(const T* weight, i64 width, const i64* ids, i64 rows, T* y) {
  const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(T);
  for (i64 r = 0; r < rows; ++r) std::memcpy(y + r * width, weight + ids[r] * width, bytes);
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
