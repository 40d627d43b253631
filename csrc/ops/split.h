#pragma once

#include "core/shapes.h"
#include "core/thread_pool.h"

namespace jadro {

// [0, total) in equal blocks of about `size`, each but the last a multiple of `unit`.
class Split {
 public:
  Split(i64 total, i64 size, i64 unit) : total_(total), unit_(unit) { set((total + size - 1) / size); }

  i64 size() const { return size_; }
  i64 count() const { return total_ == 0 ? 0 : (total_ + size_ - 1) / size_; }
  Range range(i64 i) const { return {i * size_, i * size_ + size_ < total_ ? i * size_ + size_ : total_}; }

  // Twice as many blocks; false where they cannot be smaller.
  bool halve() {
    if (size_ <= unit_) return false;
    set(2 * count());
    return true;
  }

 private:
  void set(i64 blocks) {
    const i64 even = (total_ + blocks - 1) / (blocks > 0 ? blocks : 1);
    size_ = (even + unit_ - 1) / unit_ * unit_;
    if (size_ < unit_) size_ = unit_;
  }

  i64 total_, unit_, size_ = 0;
};

// The i-th of `parts` even parts of [0, total), cut at multiples of `unit`; some are empty where there are fewer units.
static inline Range part_of(i64 total, i64 unit, i64 i, i64 parts) {
  const i64 units = (total + unit - 1) / unit, begin = units * i / parts * unit, end = units * (i + 1) / parts * unit;
  return {begin < total ? begin : total, end < total ? end : total};
}

// Whether a result is so large that storing it past the caches is faster than keeping it there for the next kernel.
template <class T>
bool past_caches(i64 n, i64 bytes = i64{16} << 20) {
  return n * static_cast<i64>(sizeof(T)) > bytes;
}

// f(range) for [0, total) in pieces of about `grain`, multiples of `unit`, which depend on the total alone.
template <class F>
void parallel_ranges(i64 total, i64 grain, i64 unit, F f) {
  const Split pieces(total, grain, unit);
  parallel_for(static_cast<int>(pieces.count()), [&](int task, int) { f(pieces.range(task)); });
}

}  // namespace jadro
