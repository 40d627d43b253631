// Rows split by the phase of a stride, so that every tap of every window is a load of neighbours: column j of the
// padded row is element j / stride of phase j % stride.
#pragma once

#include <type_traits>

#include "kernels/simd.h"

namespace jadro {
namespace {

template <class T>
using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, i64>;

// Windows with more taps, or farther apart, or few side by side, are walked one by one.
constexpr i64 kMostTaps = 32, kFarthest = 2;

template <class T>
struct Phases {
  bool used;
  i64 stride;
  i64 width = 0;         // elements of a phase, with room for whole vectors behind the row
  i64 row = 0;           // elements of all phases
  i64 first[kFarthest];  // where the first columns of the row go
  i64 taps[kMostTaps];   // offset of each tap from the column of its output

  Phases(i64 in, i64 out, i64 kernel, i64 step, i64 pad, i64 dilation)
      : used(out >= 2 && step <= kFarthest && kernel > 0 && kernel <= kMostTaps), stride(step) {
    if (!used) return;
    const i64 last = max(pad + in, (out - 1) * stride + (kernel - 1) * dilation + 1);
    width = (ceil_div(ceil_div(last, stride), kLanes<T>) + 2) * kLanes<T>;
    row = width * stride;
    for (i64 c = 0; c < stride; ++c) first[c] = (c + pad) % stride * width + (c + pad) / stride;
    for (i64 k = 0; k < kernel; ++k) taps[k] = k * dilation % stride * width + k * dilation / stride;
  }
};

// The row at(i, left), i from 0 in steps of a vector and left = in - i, into the phases at `to`. Whole vectors are
// written: lanes from `left` on must hold what the padding does.
template <class T, int kStride, class At>
JADRO_INLINE void split_row(const Phases<T>& s, i64 in, T* to, At at) {
  constexpr i64 kN = kLanes<T>;
  for (i64 i = 0; kStride * i < in; i += kN) {
    Vec<T> v[kStride];
    for (int k = 0; k < kStride; ++k) v[k] = at(kStride * i + k * kN, in - kStride * i - k * kN);
    if constexpr (kStride == 1) {
      store(to + s.first[0] + i, v[0]);
    } else {
      for_every<T, kStride>(v, [&](int f, Vec<T> cells) { store(to + s.first[f] + i, cells); });
    }
  }
}

// f(std::integral_constant) for a stride of 1 or 2.
template <class F>
JADRO_INLINE auto with_stride(i64 stride, F f) {
  if (stride == 1) return f(std::integral_constant<int, 1>{});
  return f(std::integral_constant<int, 2>{});
}

// f(std::integral_constant) for 1 <= count <= 4.
template <class F>
JADRO_INLINE void with_count(i64 count, F f) {
  if (count == 1) return f(std::integral_constant<int, 1>{});
  if (count == 2) return f(std::integral_constant<int, 2>{});
  if (count == 3) return f(std::integral_constant<int, 3>{});
  f(std::integral_constant<int, 4>{});
}

// The row's place in its plane, counted up: a division costs as much as a row.
struct RowCounter {
  i64 row, plane, d, h, depth, height;
  RowCounter(i64 first, i64 height_, i64 depth_)
      : row(first),
        plane(first / height_ / depth_),
        d(first / height_ % depth_),
        h(first % height_),
        depth(depth_),
        height(height_) {}
  JADRO_INLINE void next() {
    ++row;
    if (++h < height) return;
    h = 0;
    if (++d == depth) d = 0, ++plane;
  }
};

constexpr i64 kWaiting = 2048;

// Stores rows one behind the other; past the caches whole vectors of several rows at a time.
template <class T>
class RowWriter {
 public:
  RowWriter(T* to, bool past_caches, T* waiting) : to_(to), waiting_(waiting), past_(past_caches) {
    const i64 off = static_cast<i64>(reinterpret_cast<std::uintptr_t>(to) % kVectorBytes / sizeof(T));
    head_ = off == 0 ? 0 : kLanes<T> - off;
  }
  JADRO_INLINE void add(const T* row, i64 n) {
    T* const at = past_ ? waiting_ + count_ : to_;
    for_vectors<T>(n, [&](i64 i, i64 count) { store_n(at + i, load_n(row + i, count), count); });
    if (!past_) {
      to_ += n;
    } else if ((count_ += n) >= kWaiting) {
      flush(count_ - (count_ - head_) % kLanes<T>);
    }
  }
  void finish() {
    if (past_) flush(count_);
  }

 private:
  void flush(i64 n) {
    const i64 head = min(head_, n);
    std::memcpy(to_, waiting_, static_cast<std::size_t>(head) * sizeof(T));
    map_vectors(to_ + head, n - head, true, [&](i64 i, i64 count) { return load_n(waiting_ + head + i, count); });
    to_ += n;
    head_ = 0;
    count_ -= n;
    std::memmove(waiting_, waiting_ + n, static_cast<std::size_t>(count_) * sizeof(T));
  }

  T *to_, *waiting_;
  i64 count_ = 0, head_;
  bool past_;
};

}  // namespace
}  // namespace jadro
