// Average pooling of one to three dimensions, adaptive and global included: the rows under a row of output are added up
// first, then the columns. Backward is the same sum with windows and places exchanged.
#pragma once

#include "kernels/pool_planes.h"

namespace jadro {
namespace {

template <class T>
JADRO_INLINE Vec<T> load_or_zero(const T* p, i64 left) {
  if (left >= kLanes<T>) return load(p);
  return left <= 0 ? Vec<T>{} : load_part(p, left);
}

// Scratch of a call: the sum of the rows, the columns of which go into phases or out of them, and what waits to be
// stored past the caches.
template <class T>
struct AvgPoolBuffers {
  Phases<T> forward;
  i64 margin;  // zeros before the outputs of a row, where windows of the first places look
  i64 outputs, places, size;

  explicit AvgPoolBuffers(const AvgPool<T>& p)
      : forward(p.w.in, p.w.out, p.w.kernel, p.w.stride, p.w.pad, 1),
        margin(whole_vectors<T>(kMostTaps)),
        outputs(p.w.out),
        places(p.w.in) {
    if (forward.used) {
      outputs = max(outputs, (p.w.in + p.w.pad) / p.w.stride + 1);
      places += p.w.pad + 2 * p.w.stride * kLanes<T>;
    }
    outputs = (ceil_div(outputs, kLanes<T>) + 2) * kLanes<T> + margin;
    places = (ceil_div(max(places, p.w.out), kLanes<T>) + 2) * kLanes<T>;
    size = max(forward.row, outputs) + places + kWaiting + places;
  }
};

// The sum at column i of kCount rows, `step` apart.
template <class T, int kCount>
JADRO_INLINE Vec<T> add_rows(const T* row, i64 step, i64 i, i64 left) {
  Vec<T> sum = load_or_zero(row + i, left - i);
  for (int k = 1; k < kCount; ++k) sum += load_or_zero(row + k * step + i, left - i);
  return sum;
}

// to[n] = the sum of rows h of x[rows,n], with `first`, or += it.
template <class T>
void sum_of_rows(const T* x, Range h, i64 n, bool first, T* to) {
  for (i64 r = h.begin; r < h.end; r += 4) {
    with_count(min(4, h.end - r), [&](auto count) {
      for (i64 i = 0; i < n; i += kLanes<T>) {
        const Vec<T> sum = add_rows<T, count.value>(x + r * n, n, i, n);
        store_n(to + i, first ? sum : load_or_zero(to + i, n - i) + sum, min(kLanes<T>, n - i));
      }
    });
    first = false;
  }
}

// The sum of x[0], ..., x[n-1] is that of the lanes.
template <class T>
JADRO_INLINE Vec<T> sum_of_run(const T* x, i64 n) {
  constexpr i64 kN = kLanes<T>;
  Vec<T> s0{}, s1{}, s2{}, s3{};
  i64 i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN) {
    s0 += load(x + i);
    s1 += load(x + i + kN);
    s2 += load(x + i + 2 * kN);
    s3 += load(x + i + 3 * kN);
  }
  for (; i < n; i += kN) s0 += load_or_zero(x + i, n - i);
  return (s0 + s1) + (s2 + s3);
}

template <class T>
__attribute__((noinline)) T total_of_run(const T* x, i64 n) {
  return sum_lanes<T>(sum_of_run(x, n));
}

// y[planes] = the means of the same n places of each plane, `pitch` apart, of which `count` count.
template <class T>
__attribute__((noinline)) void mean_of_planes(const T* x, i64 pitch, i64 n, T count, Range planes, T* y) {
  constexpr i64 kN = kLanes<T>;
  for (i64 k = planes.begin; k < planes.end; k += kN) {
    const i64 group = min(kN, planes.end - k);
    Vec<T> sums[kN] = {};
    for (i64 i = 0; i < group; ++i) sums[i] = sum_of_run(x + (k + i) * pitch, n);
    store_n(y + k, sum_each<T>(sums) / count, group);
  }
}

// y[ow] from the phases of the sum of the rows, divided by count[ow] and by `rows`.
template <class T>
JADRO_INLINE void pool_columns(const AvgPool<T>& p, const Phases<T>& s, const T* phases, T rows, T* y) {
  for_vectors<T>(p.w.out, [&](i64 o, i64 count) {
    Vec<T> sum = load(phases + s.taps[0] + o);
    for (i64 k = 1; k < p.w.kernel; ++k) sum += load(phases + s.taps[k] + o);
    const Vec<T> n = keep_part<T>(load_n(p.w.count + o, count), count, T(1));
    store_n(y + o, sum / (n * rows), count);
  });
}

// Windows of two columns, two apart and inside.
template <class T>
bool are_pairs(const AvgPool<T>& p) {
  return p.w.out >= 2 && p.w.kernel == 2 && p.w.stride == 2 && p.w.pad == 0 && 2 * p.w.out <= p.w.in;
}

// y[ow] of windows of two columns, two apart and inside: the sums of neighbours, as they are loaded; up to four rows.
// The last vector of a row overlaps the one before; with `past` one that is longer than a row goes on behind it.
template <class T>
void pool_pairs(const AvgPool<T>& p, const T* x, i64 rows, T count, bool past, T* y) {
  constexpr i64 kN = kLanes<T>;
  const i64 n = p.w.in, out = p.w.out, last = max(0, out - kN);
  const T share = T(1) / (count * p.w.count[0]);
  const VecInt<T> even = 2 * lane_numbers<T>();
  with_count(rows, [&](auto kCount) {
    const auto pair = [&](i64 i, i64 end) {
      const Vec<T> a = add_rows<T, kCount.value>(x, n, i, end), b = add_rows<T, kCount.value>(x, n, i + kN, end);
      return (__builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, even + 1)) * share;
    };
    if (out < kN && !past) return store_part(y, pair(0, n), out);
    for (i64 o = 0;; o = min(o + kN, last)) {
      store(y + o, pair(2 * o, 2 * (o + kN)));
      if (o == last) return;
    }
  });
}

// Splits the sum of rows d, h of x[ih,iw] into phases; up to four rows are added on the way.
template <class T, int kStride>
void split_sum(const AvgPool<T>& p, const Phases<T>& s, const T* x, Range d, Range h, T* sums, T* phases) {
  const i64 n = p.w.in;
  const T* from = sums;
  if (d.end - d.begin == 1 && h.end - h.begin <= 4) {
    from = x + (d.begin * p.h.in + h.begin) * n;
    with_count(h.end - h.begin, [&](auto count) {
      split_row<T, kStride>(s, n, phases, [&](i64 i, i64) { return add_rows<T, count.value>(from, n, i, n); });
    });
    return;
  }
  for (i64 z = d.begin; z < d.end; ++z) sum_of_rows(x + z * p.h.in * n, h, n, z == d.begin, sums);
  split_row<T, kStride>(s, n, phases, [&](i64 i, i64 left) { return load_or_zero(sums + i, left); });
}

// Rows of y[planes * od * oh, ow] from x[planes,id,ih,iw].
template <class T>
void avg_pool_rows(const AvgPool<T>& p, const T* x, Range rows, T* y, T* scratch) {
  if (p.d.in == 1 && p.h.in == 1 && p.d.out == 1 && p.h.out == 1 && p.w.out == 1) {
    const i64 begin = p.w.begin[0], n = p.w.end[0] - begin;
    return mean_of_planes(x + begin, p.w.in, n, p.d.count[0] * p.h.count[0] * p.w.count[0], rows, y);
  }
  const AvgPoolBuffers<T> buffers(p);
  const Phases<T>& s = buffers.forward;
  T *const phases = scratch, *const sums = phases + max(s.row, buffers.outputs);
  const auto split = with_stride(p.w.stride, [](auto stride) { return &split_sum<T, stride.value>; });
  const bool pairs = are_pairs(p);
  if (s.used) std::memset(phases, 0, static_cast<std::size_t>(s.row) * sizeof(T));
  const T* const end = x + p.planes * p.d.in * p.h.in * p.w.in;
  for (RowCounter at(rows.begin, p.h.out, p.d.out); at.row < rows.end; at.next()) {
    T* const means = y + at.row * p.w.out;
    const i64 oh = at.h, od = at.d;
    const T* const volume = x + at.plane * p.d.in * p.h.in * p.w.in;
    const Range d{p.d.begin[od], p.d.end[od]}, h{p.h.begin[oh], p.h.end[oh]};
    const T count = p.d.count[od] * p.h.count[oh];
    if (pairs && d.end - d.begin == 1 && h.end - h.begin <= 4) {
      const T* const from = volume + (d.begin * p.h.in + h.begin) * p.w.in;
      const i64 high = h.end - h.begin;
      const bool past = (rows.end - at.row) * p.w.out >= kLanes<T> && from + (high - 1) * p.w.in + 2 * kLanes<T> <= end;
      pool_pairs(p, from, high, count, past, means);
      continue;
    }
    if (s.used) {
      split(p, s, volume, d, h, sums, phases);
      pool_columns(p, s, phases, count, means);
      continue;
    }
    const T* row = volume + (d.begin * p.h.in + h.begin) * p.w.in;
    if (d.end - d.begin > 1 || h.end - h.begin > 1) {
      for (i64 z = d.begin; z < d.end; ++z) {
        sum_of_rows(volume + z * p.h.in * p.w.in, h, p.w.in, z == d.begin, sums);
      }
      row = sums;
    }
    for (i64 o = 0; o < p.w.out; ++o) {
      means[o] = total_of_run(row + p.w.begin[o], p.w.end[o] - p.w.begin[o]) / (p.w.count[o] * count);
    }
  }
}

// places[j] = the sum of g over the windows that see column j - pad; g[-margin ...] is 0 outside of the outputs.
template <class T>
void spread_columns(const AvgPoolAxis<T>& w, const T* g, T* places) {
  constexpr i64 kN = kLanes<T>;
  const i64 end = (w.in - 1 + w.pad) / w.stride + 1;  // phase c of place q stride + c is under windows q, q - 1, ...
  for (i64 q = w.pad / w.stride; q < end; q += kN) {
    const auto phase = [&](i64 c) {
      Vec<T> sum{};
      for (i64 t = 0; t * w.stride + c < w.kernel; ++t) sum += load(g + q - t);
      return sum;
    };
    T* const to = places + q * w.stride;
    if (w.stride == 1) {
      store(to, phase(0));
    } else {
      const Vec<T> v[] = {phase(0), phase(1)};
      for_in_turn<T, 2>(v, [&](int part, Vec<T> woven) { store(to + part * kN, woven); });
    }
  }
}

// places[n] = the sum of g over the windows that see each place, window by window.
template <class T>
void spread_runs(const AvgPoolAxis<T>& w, const T* g, T* places) {
  for_vectors<T>(w.in, [&](i64 i, i64 count) { store_n(places + i, Vec<T>{}, count); });
  for (i64 o = 0; o < w.out; ++o) {
    T* const run = places + w.begin[o];
    for_vectors<T>(w.end[o] - w.begin[o],
                   [&](i64 i, i64 count) { store_n(run + i, load_n(run + i, count) + g[o], count); });
  }
}

// g[ow] = the sum of the windows d, h of dy[od,oh,ow], each divided by what it counts, up to four rows at a time; whole
// vectors are written, zeros above.
template <class T>
void add_shares(const AvgPool<T>& p, const T* dy, Range d, Range h, T* g) {
  if (d.begin == d.end || h.begin == h.end) {
    for_vectors<T>(p.w.out, [&](i64 i, i64) { store(g + i, Vec<T>{}); });
  }
  for (i64 z = d.begin; z < d.end; ++z) {
    for (i64 o = h.begin; o < h.end; o += 4) {
      const bool first = z == d.begin && o == h.begin, last = z + 1 == d.end && o + 4 >= h.end;
      with_count(min(4, h.end - o), [&](auto kCount) {
        const T* const from = dy + (z * p.h.out + o) * p.w.out;
        T share[kCount.value];
        for (int k = 0; k < kCount.value; ++k) share[k] = T(1) / (p.d.count[z] * p.h.count[o + k]);
        for_vectors<T>(p.w.out, [&](i64 i, i64 count) {
          Vec<T> sum = first ? Vec<T>{} : load(g + i);
          for (int k = 0; k < kCount.value; ++k) sum += load_n(from + k * p.w.out + i, count) * share[k];
          if (last) sum = sum / keep_part<T>(load_n(p.w.count + i, count), count, T(1));
          store(g + i, sum);
        });
      });
    }
  }
}

// Rows of dx[planes * id * ih, iw] from dy[planes,od,oh,ow].
template <class T>
void avg_pool_data_rows(const AvgPool<T>& p, const T* dy, Range rows, T* dx, T* scratch, bool past_caches) {
  const AvgPoolBuffers<T> buffers(p);
  const bool uniform = buffers.forward.used;
  T* const g = scratch + buffers.margin;
  T *const places = scratch + max(buffers.forward.row, buffers.outputs), *const waiting = places + buffers.places;
  std::memset(scratch, 0, static_cast<std::size_t>(buffers.outputs) * sizeof(T));
  RowWriter<T> out(dx + rows.begin * p.w.in, past_caches, waiting);
  const T* const row = places + (uniform ? p.w.pad : 0);
  Range seen_d{-1, -1}, seen_h{-1, -1};
  i64 seen = -1;  // the plane, and the windows, whose sum `places` holds
  for (RowCounter at(rows.begin, p.h.in, p.d.in); at.row < rows.end; at.next()) {
    const i64 plane = at.plane;
    const Range d{p.d.first[at.d], p.d.last[at.d]}, h{p.h.first[at.h], p.h.last[at.h]};
    if (plane != seen || d.begin != seen_d.begin || d.end != seen_d.end || h.begin != seen_h.begin ||
        h.end != seen_h.end) {
      add_shares(p, dy + plane * p.d.out * p.h.out * p.w.out, d, h, g);
      if (uniform) {
        spread_columns(p.w, g, places);
      } else {
        spread_runs(p.w, g, places);
      }
      seen = plane, seen_d = d, seen_h = h;
    }
    out.add(row, p.w.in);
  }
  out.finish();
}

// Whether windows of an image lie side by side, two or three columns wide, in rows that fill a vector.
template <class T>
bool side_by_side(const AvgPool<T>& p) {
  const i64 k = p.w.kernel;
  const bool columns = (k == 2 || k == 3) && p.w.stride == k && p.w.pad == 0 && k * p.w.out <= p.w.in;
  return columns && p.w.in >= kLanes<T> && p.d.in == 1 && p.d.out == 1 && p.h.kernel > 0 && p.h.kernel <= p.h.stride;
}

// to[kCount n] = share g[n], each kCount times; with `past` vectors are read and written that go on behind them.
template <class T, int kCount>
void repeat_row(const T* g, i64 n, T share, bool past, T* to) {
  constexpr i64 kN = kLanes<T>;
  if (!past) {
    for (i64 i = 0; i < kCount * n; ++i) to[i] = share * g[i / kCount];
    return;
  }
  for (i64 o = 0; o < n; o += kN, to += kCount * kN) {
    const Vec<T> v = load(g + o) * share, same[] = {v, v, v};
    for_in_turn<T, kCount>(same, [&](int part, Vec<T> woven) { store(to + part * kN, woven); });
  }
}

// Planes of dx where no place is under two windows. Vectors that are longer than a row go on in the next, which is
// written after it.
template <class T, int kCount>
void avg_pool_data_planes(const AvgPool<T>& p, const T* dy, Range planes, T* dx) {
  const i64 size = p.h.in * p.w.in, out = p.h.out * p.w.out, whole = whole_vectors<T>(p.w.out);
  const T *const end = dx + planes.end * size, *const last = dy + planes.end * out;
  T rows = 0, share = 0;
  for (i64 plane = planes.begin; plane < planes.end; ++plane) {
    T* to = dx + plane * size;
    for (i64 h = 0; h < p.h.in; ++h, to += p.w.in) {
      const i64 o = p.h.first[h];
      i64 done = 0;
      if (o < p.h.last[h]) {
        const T* const g = dy + plane * out + o * p.w.out;
        if (p.h.count[o] != rows) rows = p.h.count[o], share = T(1) / (p.d.count[0] * rows * p.w.count[0]);
        repeat_row<T, kCount>(g, p.w.out, share, end - to >= kCount * whole && last - g >= whole, to);
        done = kCount * p.w.out;
      }
      for (; done < p.w.in; ++done) to[done] = 0;
    }
  }
}

struct MeanAxis {
  i64 in, out;
  const i64 *begin, *end;
  JADRO_INLINE Span operator()(i64 o) const { return {begin[o], end[o], 1}; }
  Range under(Range outputs) const { return {begin[outputs.begin], end[outputs.end - 1]}; }
};

// Backward windows and places change their roles.
template <class T>
PlanePool<T, MeanAxis> planes_of(const AvgPool<T>& p, bool backward) {
  const auto axis = [&](const AvgPoolAxis<T>& a) {
    return backward ? MeanAxis{a.out, a.in, a.first, a.last} : MeanAxis{a.in, a.out, a.begin, a.end};
  };
  return {p.planes, axis(p.d), axis(p.h), axis(p.w), false};
}

// Whether rows are short, or windows far apart, for pooling along them.
template <class T>
bool by_planes(const AvgPool<T>& p, bool backward) {
  constexpr i64 kShort = 64;
  return fill_lanes<T>(p.planes) && (backward || (p.w.out > 1 && (!are_pairs(p) || p.w.out < kLanes<T>))) &&
         (max(p.w.in, p.w.out) <= kShort || p.w.stride > kFarthest);
}

template <class T>
PoolWork avg_pool_work(const AvgPool<T>& p, bool backward) {
  if (backward && side_by_side(p)) return {p.planes, 0};
  const i64 scratch = AvgPoolBuffers<T>(p).size;
  if (!by_planes(p, backward)) return {p.planes * (backward ? p.d.in * p.h.in : p.d.out * p.h.out), scratch};
  const auto pool = planes_of(p, backward);
  return {pool.items(), max(scratch, pool.scratch())};
}

// v / n, where n is mostly what it was before.
template <class T>
class Shares {
 public:
  JADRO_INLINE Vec<T> of(Vec<T> v, T n) {
    if (n != n_) n_ = n, share_ = T(1) / n;
    return v * share_;
  }

 private:
  T n_ = 1, share_ = 1;
};

// cells[groups][kLanes] of the outputs r of the leading axis and all of the next, divided by what their windows count.
template <class T>
void divide_cells(const AvgPool<T>& p, int lead, Range r, i64 groups, T* cells) {
  const Range d = lead == 0 ? r : Range{0, p.d.out}, h = lead == 1 ? r : Range{0, p.h.out};
  const Range w = lead == 2 ? r : Range{0, p.w.out};
  Shares<T> shares;
  for (i64 g = 0; g < groups; ++g) {
    for (i64 z = d.begin; z < d.end; ++z) {
      for (i64 i = h.begin; i < h.end; ++i) {
        const T rows = p.d.count[z] * p.h.count[i];
        for (i64 o = w.begin; o < w.end; ++o, cells += kLanes<T>) {
          store(cells, shares.of(load(cells), p.w.count[o] * rows));
        }
      }
    }
  }
}

// cells[rows][columns][kLanes] divided by the counts of the columns.
template <class T>
void divide_columns(const T* count, Range columns, i64 rows, T* cells) {
  Shares<T> shares;
  for (i64 row = 0; row < rows; ++row) {
    for (i64 c = columns.begin; c < columns.end; ++c, cells += kLanes<T>) {
      store(cells, shares.of(load(cells), count[c]));
    }
  }
}

// Items of avg_pool_work.
template <class T>
void avg_pool_planes(const AvgPool<T>& p, bool backward, const T* x, Range items, T* y, T* scratch) {
  const auto pool = planes_of(p, backward);
  for (i64 i = items.begin; i < items.end; ++i) {
    const auto item = pool.item(i);
    const i64 groups = ceil_div(item.planes, kLanes<T>);
    pool.template read<Meet::kSum>(item, x, backward ? p.d.count : nullptr, backward ? p.h.count : nullptr, scratch);
    if (backward) divide_columns(p.w.count, pool.columns(item), pool.rows(item), scratch);
    T* const sums = pool.template pool<Meet::kSum>(item, scratch);
    if (!backward) divide_cells(p, pool.lead, item.out, groups, sums);
    pool.write(item, sums, y);
  }
}

template <class T>
void avg_pool_forward(const AvgPool<T>& p, const T* x, Range items, T* y, T* scratch) {
  by_planes(p, false) ? avg_pool_planes(p, false, x, items, y, scratch) : avg_pool_rows(p, x, items, y, scratch);
}
template <class T>
void avg_pool_backward(const AvgPool<T>& p, const T* dy, Range items, T* dx, T* scratch, bool past_caches) {
  if (side_by_side(p)) {
    return (p.w.kernel == 2 ? avg_pool_data_planes<T, 2> : avg_pool_data_planes<T, 3>)(p, dy, items, dx);
  }
  by_planes(p, true) ? avg_pool_planes(p, true, dy, items, dx, scratch)
                     : avg_pool_data_rows(p, dy, items, dx, scratch, past_caches);
}

}  // namespace
}  // namespace jadro
