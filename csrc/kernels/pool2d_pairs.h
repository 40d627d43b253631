// Max pooling of 2x2 windows of stride 2 inside the image, the commonest ones.
#pragma once

#include "kernels/pool_planes.h"

namespace jadro {
namespace {

JADRO_INLINE void store_indices(std::int32_t* to, VecInt<float> v, i64 count) {
  Vec<float> bits;
  std::memcpy(&bits, &v, sizeof v);
  store_n(reinterpret_cast<float*>(to), bits, count);
}
JADRO_INLINE void store_indices(std::int32_t* to, VecInt<double> v, i64 count) {
  for (i64 i = 0; i < count; ++i) to[i] = static_cast<std::int32_t>(v[i]);
}

template <class T>
JADRO_INLINE Vec<T> load_or_lowest(const T* p, i64 count) {
  const T lowest = -__builtin_inff();
  if (count >= kLanes<T>) return load(p);
  return count <= 0 ? broadcast(lowest) : keep_part<T>(load_part(p, count), count, lowest);
}

// Whether all windows are such.
template <class T>
bool are_pairs(const Pool2d& p) {
  const bool square = p.kd == 1 && p.kh == 2 && p.kw == 2 && p.dilation_h == 1 && p.dilation_w == 1;
  const bool even = p.stride_d == 1 && p.stride_h == 2 && p.stride_w == 2 && !p.adaptive;
  const bool inside =
      (p.pad_front | p.pad_top | p.pad_left) == 0 && p.od == p.id && 2 * p.oh <= p.ih && 2 * p.ow <= p.iw;
  return square && even && inside;
}

// The largest of each pair of columns of two rows, `left` columns of which are there; with kIndices the place of the
// first of them, where `width` lies between the rows. nan: whether a lane saw one.
template <class T, bool kIndices, bool kWhole>
JADRO_INLINE Vec<T> max_of_pairs(const T* upper, i64 width, i64 left, VecInt<T>* index, VecInt<T>* nan) {
  constexpr i64 kN = kLanes<T>;
  const VecInt<T> even = 2 * lane_numbers<T>();
  const auto read = [&](const T* row, i64 i) { return kWhole ? load(row + i) : load_or_lowest(row + i, left - i); };
  Vec<T> row[2][2], best[2];
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    row[0][k] = read(upper, k * kN), row[1][k] = read(upper + width, k * kN);
    *nan |= (row[0][k] != row[0][k]) | (row[1][k] != row[1][k]);
    best[k] = maximum<T>(row[1][k], row[0][k]);
  }
  if constexpr (!kIndices) {
    return maximum<T>(__builtin_shuffle(best[0], best[1], even), __builtin_shuffle(best[0], best[1], even + 1));
  }
  const Int<T> taps[] = {0, 1, static_cast<Int<T>>(width), static_cast<Int<T>>(width + 1)};
  Vec<T> top = __builtin_shuffle(row[0][0], row[0][1], even);
  *index = even;
#pragma GCC unroll 4
  for (int tap = 1; tap < 4; ++tap) {
    const Vec<T> v = __builtin_shuffle(row[tap / 2][0], row[tap / 2][1], even + tap % 2);
    *index = v > top ? even + taps[tap] : *index;
    top = maximum<T>(v, top);
  }
  return top;
}

// Rows of y and, with kIndices, of indices. The last vector of a row may overlap the one before; one that is longer
// than a row goes on in the next, which is written after it. False for a NaN.
template <class T, bool kIndices>
bool pool_pairs(const Pool2d& p, const T* x, Range rows, T* y, std::int32_t* indices) {
  constexpr i64 kN = kLanes<T>;
  const T* const end = x + p.planes * p.id * p.ih * p.iw;
  const i64 last = max(0, p.ow - kN);  // start of a row's last vector
  VecInt<T> nan{};
  for (RowCounter at(rows.begin, p.oh, p.od); at.row < rows.end; at.next()) {
    const i64 row = (at.d * p.ih + 2 * at.h) * p.iw;  // in its volume
    const T* const upper = x + at.plane * p.id * p.ih * p.iw + row;
    const auto pool = [&](auto kWhole, i64 o, i64 count) {
      VecInt<T> index{};
      const Vec<T> top = max_of_pairs<T, kIndices, kWhole.value>(upper + 2 * o, p.iw, 2 * (p.ow - o), &index, &nan);
      const i64 to = at.row * p.ow + o;
      store_n(y + to, top, count);
      if (kIndices) store_indices(indices + to, index + static_cast<Int<T>>(row + 2 * o), count);
    };
    if (p.ow < kN && ((rows.end - at.row) * p.ow < kN || upper + p.iw + 2 * kN > end)) {
      pool(std::false_type{}, 0, p.ow);
      continue;
    }
    for (i64 o = 0;; o = min(o + kN, last)) {
      pool(std::true_type{}, o, kN);
      if (o == last) break;
    }
  }
  return !any_lane<T>(nan);
}

}  // namespace
}  // namespace jadro
