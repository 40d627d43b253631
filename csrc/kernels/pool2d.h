// Max pooling of one to three dimensions, and its inverse. The first of equal values wins, the first NaN beats every
// number, padding never wins; a window without a single pixel gives -inf and index -1.
#pragma once

#include "kernels/pool2d_pairs.h"

namespace jadro {
namespace {

// The first of begin, begin + step, ... (count of them) in [0, end), or -1.
JADRO_INLINE i64 first_inside(i64 begin, i64 step, i64 count, i64 end) {
  const i64 skipped = begin < 0 ? ceil_div(-begin, step) : 0;
  return skipped < count && begin + skipped * step < end ? begin + skipped * step : -1;
}

// Where v beats the best so far: kNan knows of NaN.
template <class T, bool kNan>
JADRO_INLINE VecInt<T> beats(Vec<T> v, Vec<T> best) {
  return kNan ? ~(v <= best) & (best == best) : v > best;
}

// One axis under window o; begin is -1 for none.
JADRO_INLINE Span span_of(i64 o, i64 in, i64 out, i64 kernel, i64 stride, i64 pad, i64 dilation, bool adaptive) {
  if (adaptive) return {o * in / out, ceil_div((o + 1) * in, out), 1};
  const i64 begin = o * stride - pad, first = first_inside(begin, dilation, kernel, in);
  return {first, first < 0 ? -1 : min(begin + (kernel - 1) * dilation + 1, in), dilation};
}

// The best so far of a window and where it is; -1 before the first.
template <class T>
struct Best {
  T value = -__builtin_inff();
  i64 index = -1;
  JADRO_INLINE void meet(T v, i64 at) {
    if (index >= 0 && (v <= value || value != value)) return;
    value = v;
    index = at;
  }
};

// top and index: the best of each lane, and where it is, after the vectors of x[at .. at + size); true where kNan is
// false and a NaN was met.
template <class T, bool kNan>
JADRO_INLINE bool meet_run(const T* x, i64 at, i64 size, Vec<T>* top, VecInt<T>* index) {
  constexpr i64 kN = kLanes<T>;
  VecInt<T> here = lane_numbers<T>() + static_cast<Int<T>>(at), nan{};
  Vec<T> best = *top;
  VecInt<T> place = *index;
  const auto meet = [&](Vec<T> v) {
    const auto wins = beats<T, kNan>(v, best);
    place = wins ? here : place;
    best = kNan ? (wins ? v : best) : maximum<T>(v, best);
    nan |= v != v;
    here += static_cast<Int<T>>(kN);
  };
  i64 i = 0;
  for (; i + kN <= size; i += kN) meet(load(x + at + i));
  if (i < size) meet(load_or_lowest(x + at + i, size - i));
  *top = best;
  *index = place;
  return !kNan && any_lane<T>(nan);
}

// The run x[at .. at + size) meets the best, with vectors along it.
template <class T>
void pool_run(const T* x, i64 at, i64 size, Best<T>* best) {
  const T start = best->index < 0 ? x[at] : best->value;
  const VecInt<T> from = VecInt<T>{} + static_cast<Int<T>>(best->index < 0 ? at : best->index);
  Vec<T> top = broadcast(start);
  VecInt<T> index = from;
  if (start != start || meet_run<T, false>(x, at, size, &top, &index)) {
    top = broadcast(start), index = from;
    meet_run<T, true>(x, at, size, &top, &index);
  }
  // Lanes hold the first of their own places: of equal values, or of NaN, the lowest place is the first.
  const VecInt<T> nans = top != top;
  best->value = any_lane<T>(nans) ? T(__builtin_nanf("")) : max_lanes<T>(top);
  const VecInt<T> wins = any_lane<T>(nans) ? nans : top == broadcast(best->value);
  const Int<T> most = sizeof(T) == 4 ? Int<T>(INT32_MAX) : Int<T>(INT64_MAX);
  const VecInt<T> places = wins ? index : VecInt<T>{} + most;
  best->index = reduce_lanes<T>(places, [](VecInt<T> a, VecInt<T> b) { return a < b ? a : b; });
  best->value = x[best->index];  // the very zero or NaN
}

// One output by its window: where few outputs stand side by side, or too far apart for a split row to pay.
template <class T>
JADRO_INLINE Best<T> pool_window(const Pool2d& p, const T* x, Span d, Span h, Span w) {
  Best<T> best;
  if (d.begin < 0 || h.begin < 0 || w.begin < 0) return best;
  const bool whole = w.step == 1 && w.begin == 0 && w.end == p.iw && h.step == 1;
  if (whole) w.end = (h.end - h.begin) * p.iw, h.end = h.begin + 1;  // rows without a gap are one run
  for (i64 z = d.begin; z < d.end; z += d.step) {
    for (i64 r = h.begin; r < h.end; r += h.step) {
      const i64 row = (z * p.ih + r) * p.iw;
      if (w.step == 1 && w.end - w.begin >= kLanes<T>) {
        pool_run(x, row + w.begin, w.end - w.begin, &best);
      } else {
        for (i64 c = w.begin; c < w.end; c += w.step) best.meet(x[row + c], row + c);
      }
    }
  }
  return best;
}

// Many windows of one row of output at once: the largest of each column and where it stands, in best, then each
// window's columns. False, and nothing done, for a NaN.
template <class T>
bool pool_columns(const Pool2d& p, const T* x, Span d, Span h, T* best, T* y, std::int32_t* indices) {
  T* const where = best + whole_vectors<T>(p.iw);
  VecInt<T> nan{};
  for_vectors<T>(p.iw, [&](i64 i, i64 count) {
    Vec<T> top = broadcast(T(-__builtin_inff()));
    VecInt<T> place{};
    for (i64 z = d.begin; z < d.end; z += d.step) {
      for (i64 r = h.begin; r < h.end; r += h.step) {
        const i64 at = (z * p.ih + r) * p.iw + i;
        const bool first = z == d.begin && r == h.begin;
        const Vec<T> v = load_n(x + at, count);
        const VecInt<T> here = lane_numbers<T>() + static_cast<Int<T>>(at);
        nan |= v != v;
        place = first ? here : v > top ? here : place;
        top = first ? v : maximum<T>(v, top);
      }
    }
    store(best + i, top);
    std::memcpy(where + i, &place, sizeof place);
  });
  if (any_lane<T>(nan)) return false;
  for (i64 ow = 0; ow < p.ow; ++ow) {
    const Span w = span_of(ow, p.iw, p.ow, p.kw, p.stride_w, p.pad_left, p.dilation_w, p.adaptive);
    T value = -__builtin_inff();
    Int<T> place = -1;
    for (i64 c = max(0, w.begin); c < w.end; c += w.step) {
      Int<T> at;
      std::memcpy(&at, where + c, sizeof at);
      if (place >= 0 && (best[c] < value || (best[c] == value && at > place))) continue;
      value = best[c], place = at;
    }
    y[ow] = place < 0 ? value : x[place];
    if (indices) indices[ow] = static_cast<std::int32_t>(place);
  }
  return true;
}

// Windows of one row of output, one by one.
template <class T>
void pool_windows(const Pool2d& p, const T* x, Span d, Span h, Range windows, T* y, std::int32_t* indices) {
  for (i64 ow = windows.begin; ow < windows.end; ++ow) {
    const Span w = span_of(ow, p.iw, p.ow, p.kw, p.stride_w, p.pad_left, p.dilation_w, p.adaptive);
    const Best<T> best = pool_window(p, x, d, h, w);
    y[ow] = best.value;
    if (indices) indices[ow] = static_cast<std::int32_t>(best.index);
  }
}

// The largest of kCount rows, column by column; `nan` where one of them holds a NaN, which no maximum keeps.
template <class T, int kCount>
JADRO_INLINE Vec<T> max_of_rows(const T* const* rows, i64 i, i64 left, VecInt<T>* nan) {
  Vec<T> best = load_or_lowest(rows[0] + i, left);
  *nan |= best != best;
  for (int k = 1; k < kCount; ++k) {
    const Vec<T> v = load_or_lowest(rows[k] + i, left);
    *nan |= v != v;
    best = maximum<T>(v, best);
  }
  return best;
}

// One row of output from kCount rows of the image, without indices: rows first, then columns. False for a NaN.
template <class T, int kStride, int kCount>
bool pool_values(const Pool2d& p, const Phases<T>& s, const T* const* rows, T* phases, T* y) {
  constexpr i64 kN = kLanes<T>;
  VecInt<T> nan{};
  if (kStride == 2 && p.kw == 2 && p.pad_left == 0 && p.dilation_w == 1) {  // neighbours, as they are loaded
    const VecInt<T> even = 2 * lane_numbers<T>();
    for_vectors<T>(p.ow, [&](i64 o, i64 count) {
      const i64 i = 2 * o, left = min(p.iw, 2 * p.ow) - i;
      const Vec<T> a = max_of_rows<T, kCount>(rows, i, left, &nan);
      const Vec<T> b = max_of_rows<T, kCount>(rows, i + kN, left - kN, &nan);
      store_n(y + o, maximum<T>(__builtin_shuffle(a, b, even), __builtin_shuffle(a, b, even + 1)), count);
    });
    return !any_lane<T>(nan);
  }
  split_row<T, kStride>(s, p.iw, phases, [&](i64 i, i64 left) { return max_of_rows<T, kCount>(rows, i, left, &nan); });
  for_vectors<T>(p.ow, [&](i64 o, i64 count) {
    Vec<T> best = load(phases + s.taps[0] + o);
    for (i64 k = 1; k < p.kw; ++k) best = maximum<T>(load(phases + s.taps[k] + o), best);
    store_n(y + o, best, count);
  });
  return !any_lane<T>(nan);
}

// Whether rows of windows of at most four of them are combined as they lie, and their columns by phase.
template <class T>
bool by_phases(const Pool2d& p, const Phases<T>& phases) {
  return phases.used && !p.adaptive && p.kd * p.kh <= 4;
}

// Rows of y without indices by phases.
template <class T, int kStride>
void max_pool2d_values(const Pool2d& p, const Phases<T>& s, const T* x, Range rows, T* y, T* phases) {
  for (i64 i = 0; i < s.row; i += kLanes<T>) store(phases + i, broadcast(T(-__builtin_inff())));
  for (RowCounter at(rows.begin, p.oh, p.od); at.row < rows.end; at.next()) {
    T* const row = y + at.row * p.ow;
    const T* const volume = x + at.plane * p.id * p.ih * p.iw;
    const Span d = span_of(at.d, p.id, p.od, p.kd, p.stride_d, p.pad_front, p.dilation_d, false);
    const Span h = span_of(at.h, p.ih, p.oh, p.kh, p.stride_h, p.pad_top, p.dilation_h, false);
    const T* from[4];
    i64 count = 0;
    for (i64 z = d.begin; z < d.end && d.begin >= 0; z += d.step) {
      for (i64 r = h.begin; r < h.end && h.begin >= 0; r += h.step) from[count++] = volume + (z * p.ih + r) * p.iw;
    }
    bool done = false;
    if (count > 0) {
      with_count(count, [&](auto kCount) { done = pool_values<T, kStride, kCount.value>(p, s, from, phases, row); });
    }
    if (!done) pool_windows(p, volume, d, h, {0, p.ow}, row, nullptr);
  }
}

template <class T>
Phases<T> phases_of(const Pool2d& p) {
  return {p.iw, p.ow, p.kw, p.stride_w, p.pad_left, p.dilation_w};
}

// Rows of y[planes * od * oh, ow] and of indices, which may be null, from x[planes,id,ih,iw].
template <class T>
void max_pool2d_rows(const Pool2d& p, const T* x, Range rows, T* y, std::int32_t* indices, T* scratch) {
  if (are_pairs<T>(p) && (indices ? pool_pairs<T, true> : pool_pairs<T, false>)(p, x, rows, y, indices)) return;
  const Phases<T> phases = phases_of<T>(p);
  if (!indices && by_phases(p, phases)) {
    return with_stride(p.stride_w,
                       [&](auto stride) { max_pool2d_values<T, stride.value>(p, phases, x, rows, y, scratch); });
  }
  for (RowCounter at(rows.begin, p.oh, p.od); at.row < rows.end; at.next()) {
    const T* const volume = x + at.plane * p.id * p.ih * p.iw;
    const Span d = span_of(at.d, p.id, p.od, p.kd, p.stride_d, p.pad_front, p.dilation_d, p.adaptive);
    const Span h = span_of(at.h, p.ih, p.oh, p.kh, p.stride_h, p.pad_top, p.dilation_h, p.adaptive);
    T* const out = y + at.row * p.ow;
    std::int32_t* const index = indices ? indices + at.row * p.ow : nullptr;
    const bool many = d.begin >= 0 && h.begin >= 0 && (d.begin + d.step < d.end || h.begin + h.step < h.end);
    if (p.ow == 1 || !many || !pool_columns(p, volume, d, h, scratch, out, index)) {
      pool_windows(p, volume, d, h, {0, p.ow}, out, index);
    }
  }
}

struct MaxAxis {
  i64 in, out, kernel, stride, pad, dilation;
  bool adaptive;
  JADRO_INLINE Span operator()(i64 o) const { return span_of(o, in, out, kernel, stride, pad, dilation, adaptive); }
  Range under(Range outputs) const {
    if (adaptive) return {(*this)(outputs.begin).begin, (*this)(outputs.end - 1).end};
    const i64 begin = min(in, max(0, outputs.begin * stride - pad));
    return {begin, max(begin, min(in, (outputs.end - 1) * stride - pad + (kernel - 1) * dilation + 1))};
  }
};

template <class T>
PlanePool<T, MaxAxis> planes_of(const Pool2d& p, bool indices) {
  return {p.planes,
          {p.id, p.od, p.kd, p.stride_d, p.pad_front, p.dilation_d, p.adaptive},
          {p.ih, p.oh, p.kh, p.stride_h, p.pad_top, p.dilation_h, p.adaptive},
          {p.iw, p.ow, p.kw, p.stride_w, p.pad_left, p.dilation_w, p.adaptive},
          indices};
}
// Whether places are asked for, rows are short, or windows far apart or high, for pooling along rows; a window that is
// a plane is pooled as it lies.
template <class T>
bool by_planes(const Pool2d& p, bool indices) {
  constexpr i64 kShort = 40, kLargest = 1 << 12;
  return fill_lanes<T>(p.planes) && !are_pairs<T>(p) && (p.ow > 1 || p.id * p.ih * p.iw <= kLargest) &&
         (indices || max(p.iw, p.ow) <= kShort || !by_phases(p, phases_of<T>(p)));
}

template <class T>
PoolWork max_pool2d_work(const Pool2d& p, bool indices) {
  const i64 scratch = max(phases_of<T>(p).row, 2 * whole_vectors<T>(p.iw));
  if (!by_planes<T>(p, indices)) return {p.planes * p.od * p.oh, scratch};
  const auto pool = planes_of<T>(p, indices);
  return {pool.items(), max(scratch, pool.scratch())};
}

// The numbers of cells that passes have left, counted on from plane to plane, as places of each plane.
template <class T, class Pool>
void write_places(const Pool& pool, const typename Pool::Item& item, T* cells, std::int32_t* indices) {
  constexpr i64 kN = kLanes<T>;
  const i64 places = (item.in.end - item.in.begin) * pool.slice_in,
            outputs = (item.out.end - item.out.begin) * pool.slice_out;
  i64 first = item.in.begin * pool.slice_in;
  for (i64 k = 0; k < item.planes; k += kN, first -= places) {
    T* at = cells + k * outputs;
    for (i64 o = 0; o < outputs && first != 0; ++o) {
      const VecInt<T> v = load_places(at), place = v < 0 ? v : v + static_cast<Int<T>>(first);
      std::memcpy(at, &place, sizeof place);
      at += kN;
    }
  }
  if constexpr (sizeof(T) == sizeof(std::int32_t)) {
    pool.write(item, cells, reinterpret_cast<T*>(indices));
  } else {
    std::int32_t* const to = indices + item.plane * pool.out() + item.out.begin * pool.slice_out;
    for (i64 k = 0; k < item.planes; ++k) {
      for (i64 o = 0; o < outputs; ++o) {
        Int<T> place;
        std::memcpy(&place, cells + (k / kN * outputs + o) * kN + k % kN, sizeof place);
        to[k * pool.out() + o] = static_cast<std::int32_t>(place);
      }
    }
  }
}

// Outputs of an item, window by window.
template <class T, class Pool>
void pool_item(const Pool2d& p, const Pool& pool, const typename Pool::Item& item, const T* x, T* y,
               std::int32_t* indices) {
  const Range d = pool.lead == 0 ? item.out : Range{0, p.od}, h = pool.lead == 1 ? item.out : Range{0, p.oh};
  for (i64 k = item.plane; k < item.plane + item.planes; ++k) {
    for (i64 z = d.begin; z < d.end; ++z) {
      for (i64 r = h.begin; r < h.end; ++r) {
        const i64 row = ((k * p.od + z) * p.oh + r) * p.ow;
        pool_windows(p, x + k * p.id * p.ih * p.iw, pool.axes[0](z), pool.axes[1](r),
                     pool.lead == 2 ? item.out : Range{0, p.ow}, y + row, indices ? indices + row : nullptr);
      }
    }
  }
}

// Items of max_pool2d_work.
template <class T>
void max_pool2d_forward(const Pool2d& p, const T* x, Range items, T* y, std::int32_t* indices, T* scratch) {
  if (!by_planes<T>(p, indices)) return max_pool2d_rows(p, x, items, y, indices, scratch);
  const auto pool = planes_of<T>(p, indices);
  for (i64 i = items.begin; i < items.end; ++i) {
    const auto item = pool.item(i);
    if (pool.template read<Meet::kMax>(item, x, nullptr, nullptr, scratch)) {
      pool_item(p, pool, item, x, y, indices);
      continue;
    }
    T* const best =
        indices ? pool.template pool<Meet::kMaxAndPlace>(item, scratch) : pool.template pool<Meet::kMax>(item, scratch);
    pool.write(item, best, y);
    if (indices) write_places(pool, item, best + pool.size, indices);
  }
}

// Whether every index is that of a place of a plane of `size`, or -1.
inline bool max_pool2d_indices_inside(const std::int32_t* indices, i64 count, i64 size) {
  u32 outside = 0;
  for (i64 i = 0; i < count; ++i) outside |= static_cast<u32>(indices[i]) + 1 > static_cast<u32>(size);
  return outside == 0;
}

// d[kCount,size] = each g[kCount,outputs] added, in order, to the place of its index; -1 is none. Several planes in
// turn, because a sum waits for the one before where windows overlap.
template <class T, int kCount>
void scatter(const T* g, const std::int32_t* index, i64 outputs, i64 size, T* d) {
  std::memset(d, 0, static_cast<std::size_t>(kCount * size) * sizeof(T));
  for (i64 i = 0; i < outputs; ++i) {
#pragma GCC unroll 4
    for (int q = 0; q < kCount; ++q) {
      const i64 at = index[q * outputs + i];
      if (static_cast<u64>(at) < static_cast<u64>(size)) d[q * size + at] += g[q * outputs + i];
    }
  }
}

// The gradient of planes by dy and indices. With scratch[size] a plane is made there and then stored past the caches.
template <class T>
void max_pool2d_backward(const T* dy, const std::int32_t* indices, Range planes, i64 outputs, i64 size, T* dx,
                         T* scratch) {
  for (i64 plane = planes.begin, count; plane < planes.end; plane += count) {
    count = scratch || planes.end - plane < 4 ? 1 : 4;
    T* const d = scratch ? scratch : dx + plane * size;
    (count == 1 ? scatter<T, 1> : scatter<T, 4>)(dy + plane * outputs, indices + plane * outputs, outputs, size, d);
    if (scratch) map_vectors(dx + plane * size, size, true, [&](i64 i, i64 n) { return load_n(d + i, n); });
  }
}

// y[planes,size] = 0 but for each x[planes,inputs] at the place of its index, the last one where two have the same.
template <class T>
void max_unpool2d_forward(const T* x, const std::int32_t* indices, Range planes, i64 inputs, i64 size, T* y) {
  for (i64 plane = planes.begin; plane < planes.end; ++plane) {
    T* const to = y + plane * size;
    const std::int32_t* const index = indices + plane * inputs;
    std::memset(to, 0, static_cast<std::size_t>(size) * sizeof(T));
    for (i64 i = 0; i < inputs; ++i) {
      if (static_cast<u64>(index[i]) < static_cast<u64>(size)) to[index[i]] = x[plane * inputs + i];
    }
  }
}

// dx[planes,inputs] = dy[planes,size] at the place of each index, 0 for -1.
template <class T>
void max_unpool2d_backward(const T* dy, const std::int32_t* indices, Range planes, i64 inputs, i64 size, T* dx) {
  for (i64 plane = planes.begin; plane < planes.end; ++plane) {
    const T* const from = dy + plane * size;
    const std::int32_t* const index = indices + plane * inputs;
    for (i64 i = 0; i < inputs; ++i) {
      dx[plane * inputs + i] = static_cast<u64>(index[i]) < static_cast<u64>(size) ? from[index[i]] : T(0);
    }
  }
}

}  // namespace
}  // namespace jadro
