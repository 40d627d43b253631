// Pooling of kLanes planes at a time, turned so that a vector holds one place of them all: whatever the windows are and
// however short the rows, whole vectors meet. Rows meet as they are read, then columns; where places of maxima are
// asked for, axes follow each other from the last to the first, so that the first of equals is met first.
#pragma once

#include "kernels/gemm.h"
#include "kernels/pool_phases.h"

namespace jadro {
namespace {

// The places begin, begin + step, ... below end of one axis under one window; none where begin is not below end.
struct Span {
  i64 begin, end, step;
  bool none() const { return begin >= end; }
};

// What the places of a window come to: their sum, the largest, or the largest and where it stands first. That is the
// number of the cell in the pass over the last axis, and in the next what was kept beside it.
enum class Meet { kSum, kMax, kMaxAndNumber, kMaxAndPlace };

// Rows of a plane that are met as they are read: those at d and h of [..., height, width], each times
// 1 / (count_d count_h), where there are counts.
template <class T>
struct MetRows {
  Span d, h;
  i64 height, width;
  const T *count_d, *count_h;
};

// to[places][kLanes] = what rows of `planes` <= kLanes planes, `pitch` apart, come to, the last plane again in the
// lanes above; at least kLanes places are written. True for a NaN.
template <class T, Meet kMeet>
__attribute__((noinline)) bool turn_in(const T* x, i64 pitch, i64 planes, i64 places, const MetRows<T>& rows, T* to) {
  constexpr i64 kN = kLanes<T>;
  const i64 last = max(0, places - kN);
  VecInt<T> nan{};
  for (i64 k = 0;; k = min(k + kN, last)) {
    Vec<T> block[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) block[i] = broadcast(kMeet == Meet::kSum ? T(0) : T(-__builtin_inff()));
    for (i64 z = rows.d.begin; z < rows.d.end; z += rows.d.step) {
      for (i64 r = rows.h.begin; r < rows.h.end; r += rows.h.step) {
        const T* const row = x + (z * rows.height + r) * rows.width + k;
        const T share = rows.count_d ? T(1) / (rows.count_d[z] * rows.count_h[r]) : T(1);
#pragma GCC unroll 16
        for (int i = 0; i < kN; ++i) {
          const T* const from = row + min(i, planes - 1) * pitch;
          const Vec<T> v = places < kN ? load_part(from, places) : load(from);
          if (kMeet == Meet::kSum) {
            block[i] += v * share;
          } else {
            nan |= v != v;
            block[i] = maximum<T>(v, block[i]);
          }
        }
      }
    }
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) store(to + (k + i) * kN, block[i]);
    if (k == last) return any_lane<T>(nan);
  }
}

// The way back.
template <class T>
__attribute__((noinline)) void turn_out(const T* from, i64 pitch, i64 planes, i64 places, T* y) {
  constexpr i64 kN = kLanes<T>;
  T run[kN * kN + kN];  // of planes that are shorter than a vector
  const i64 last = max(0, places - kN);
  const bool whole = places >= kN;
  for (i64 k = 0;; k = min(k + kN, last)) {
    Vec<T> block[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) block[i] = load(from + (k + i) * kN);
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) {
      if (i < planes) store(whole ? y + i * pitch + k : run + i * places, block[i]);
    }
    if (k == last) break;
  }
  if (whole) return;
  if (pitch == places) return for_vectors<T>(planes * places, [&](i64 i, i64 n) { store_n(y + i, load(run + i), n); });
  for (i64 i = 0; i < planes; ++i) store_part(y + i * pitch, load(run + i * places), places);
}

// Steps from cell to cell of a line, from line to line of the source and of the result, and from values to places.
struct Lines {
  i64 count, cell, from, to, places;
};

template <class T>
JADRO_INLINE VecInt<T> load_places(const T* p) {
  VecInt<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// to[line] = what the cells s of from[line] come to, for kCount lines; s is not empty.
template <class T, Meet kMeet, int kCount>
JADRO_INLINE void meet_lines(const Lines& l, Span s, i64 line, const T* from, T* to) {
  constexpr bool kPlaces = kMeet == Meet::kMaxAndPlace, kNumbers = kMeet == Meet::kMaxAndNumber;
  from += line * l.from, to += line * l.to;
  Vec<T> best[kCount];
  VecInt<T> place[kCount], here{};
#pragma GCC unroll 4
  for (int q = 0; q < kCount; ++q) {
    best[q] = load(from + q * l.from);
    place[q] = kPlaces ? load_places(from + q * l.from + l.places) : VecInt<T>{};
  }
  for (i64 i = s.begin + s.step; i < s.end; i += s.step) {
    from += l.cell;
    here += static_cast<Int<T>>(s.step);
#pragma GCC unroll 4
    for (int q = 0; q < kCount; ++q) {
      const Vec<T> v = load(from + q * l.from);
      if (kPlaces) place[q] = v > best[q] ? load_places(from + q * l.from + l.places) : place[q];
      if (kNumbers) place[q] = v > best[q] ? here : place[q];
      best[q] = kMeet == Meet::kSum ? best[q] + v : maximum<T>(v, best[q]);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < kCount; ++q) {
    store(to + q * l.to, best[q]);
    if (kNumbers) place[q] += static_cast<Int<T>>(s.begin + (line + q) * l.from / kLanes<T>);
    if (kPlaces || kNumbers) std::memcpy(to + q * l.to + l.places, &place[q], sizeof place[q]);
  }
}

// The same for all lines; of no cells 0, or -inf at place -1.
template <class T, Meet kMeet>
JADRO_INLINE void meet_span(const Lines& l, Span s, const T* from, T* to) {
  constexpr i64 kAtOnce = 4;
  const i64 last = l.count - kAtOnce;
  if (s.none()) {
    const VecInt<T> nowhere = VecInt<T>{} - 1;
    for (i64 line = 0; line < l.count; ++line, to += l.to) {
      store(to, broadcast(kMeet == Meet::kSum ? T(0) : T(-__builtin_inff())));
      if (kMeet > Meet::kMax) std::memcpy(to + l.places, &nowhere, sizeof nowhere);
    }
    return;
  }
  if (last < 0) {
    for (i64 line = 0; line < l.count; ++line) meet_lines<T, kMeet, 1>(l, s, line, from, to);
    return;
  }
  for (i64 line = 0;; line = min(line + kAtOnce, last)) {
    meet_lines<T, kMeet, kAtOnce>(l, s, line, from, to);
    if (line == last) return;
  }
}

// Results `out` of one axis, the source from place `shift` on: `times` sets of lines.
template <class T, Meet kMeet, class Axis>
__attribute__((noinline)) void meet_axis(const Axis& axis, Range out, i64 shift, Lines lines, i64 times, i64 from_set,
                                         i64 to_set, const T* from, T* to) {
  const i64 cell = lines.cell;
  for (i64 o = out.begin; o < out.end; ++o, to += cell) {
    Span s = axis(o);
    s.begin -= shift, s.end -= shift;
    lines.cell = cell * s.step;
    for (i64 z = 0; z < times; ++z) {
      meet_span<T, kMeet>(lines, s, from + s.begin * cell + z * from_set, to + z * to_set);
    }
  }
}

// Whether planes fill enough of the lanes.
template <class T>
bool fill_lanes(i64 planes) {
  return 4 * planes >= kLanes<T>;
}

// Pooling along up to three axes in items: of some groups of kLanes planes, a band of the outputs along the leading
// axis. axis(o) is the span of output o, axis.under(outputs) a range that holds those of them all.
template <class T, class Axis>
class PlanePool {
  static constexpr i64 kN = kLanes<T>, kCells = (1 << 15) / kVectorBytes;

 public:
  struct Item {
    i64 plane, planes;  // the first plane, and how many
    Range in, out;      // along the leading axis
  };

  PlanePool(i64 all_planes, const Axis& d, const Axis& h, const Axis& w, bool with_places)
      : axes{d, h, w}, planes(all_planes), places(with_places) {
    while (lead < 2 && axes[lead].in == 1 && axes[lead].out == 1) ++lead;
    const bool whole = places || lead == 2;  // slices of the input are read, not the rows that they come to
    i64 read = axes[2].in, most;             // elements of a slice as it is read, and at most
    for (int a = 2; a >= lead; --a) {
      same[a] = axes[a].in == axes[a].out;
      for (i64 o = 0; o < axes[a].out && same[a]; ++o) same[a] = axes[a](o).begin == o && axes[a](o).end == o + 1;
      if (a > lead) slice_in *= axes[a].in, slice_out *= axes[a].out;
    }
    if (whole) {
      read = most = 1;
      for (int a = 2; a > lead; --a) read *= axes[a].in, most *= max(axes[a].in, axes[a].out);
    } else {
      for (int a = 1; a > lead; --a) read *= axes[a].out;
      most = max(read, slice_out);
    }
    const Axis& axis = axes[lead];
    const Span middle = axis(axis.out / 2);
    const i64 cells = lead == 2 ? kCells / 4 : kCells;  // lines of several groups of planes, where a group has one
    const i64 more =
        whole ? max(0, cells / read - (middle.end - middle.begin)) * axis.out / axis.in : max(0, cells / read - 1);
    height = min(axis.out, more + 1);
    bands = ceil_div(axis.out, height);
    height = ceil_div(axis.out, bands);
    bands = ceil_div(axis.out, height);
    i64 high = height;
    for (i64 b = 0; b < bands && whole; ++b) {
      const Range in = item(b).in;
      high = max(high, in.end - in.begin);
    }
    batch = max(1, min(kCells / (high * read), planes / kN / 8));
    size = (batch * high * most + kN) * kN;
  }

  i64 items() const { return ceil_div(planes, batch * kN) * bands; }
  i64 scratch() const { return size * (places ? 4 : 2); }
  i64 in() const { return axes[lead].in * slice_in; }
  i64 out() const { return axes[lead].out * slice_out; }

  Item item(i64 i) const {
    const Axis& axis = axes[lead];
    const i64 plane = i / bands * batch * kN, band = i % bands;
    const Range out{band * height, min(axis.out, (band + 1) * height)};
    return {plane, min(batch * kN, planes - plane), axis.under(out), out};
  }

  // The columns that are read of a row.
  Range columns(const Item& i) const { return lead == 2 ? i.in : Range{0, axes[2].in}; }

  // The rows of an item, once met.
  i64 rows(const Item& i) const {
    const i64 high = lead == 0 ? axes[1].out : 1;
    return ceil_div(i.planes, kN) * (lead == 2 ? 1 : (i.out.end - i.out.begin) * high);
  }

  // The cells of an item, group by group, rows met where no places are asked for; true for a NaN.
  template <Meet kMeet>
  bool read(const Item& i, const T* x, const T* count_d, const T* count_h, T* cells) const {
    bool nan = false;
    for (i64 k = 0; k < i.planes; k += kN) {
      const T* const from = x + (i.plane + k) * in();
      const i64 group = min(kN, i.planes - k);
      if (places) {
        const i64 count = (i.in.end - i.in.begin) * slice_in;
        const MetRows<T> one{{0, 1, 1}, {0, 1, 1}, 0, 0, nullptr, nullptr};
        nan |= turn_in<T, kMeet>(from + i.in.begin * slice_in, in(), group, count, one, cells + k * count);
        continue;
      }
      const Range d = lead == 0 ? i.out : Range{0, 1}, h = lead == 1 ? i.out : Range{0, axes[1].out}, w = columns(i);
      for (i64 z = d.begin; z < d.end; ++z) {
        for (i64 r = h.begin; r < h.end; ++r, cells += (w.end - w.begin) * kN) {
          const MetRows<T> rows{axes[0](z), axes[1](r), axes[1].in, axes[2].in, count_d, count_h};
          nan |= turn_in<T, kMeet>(from + w.begin, in(), group, w.end - w.begin, rows, cells);
        }
      }
    }
    return nan;
  }
  void write(const Item& i, const T* cells, T* y) const {
    const i64 count = (i.out.end - i.out.begin) * slice_out;
    for (i64 k = 0; k < i.planes; k += kN) {
      turn_out(cells + k * count, out(), min(kN, i.planes - k), count,
               y + (i.plane + k) * out() + i.out.begin * slice_out);
    }
  }

  // Where the results of `cells` stand: there or in the second half of the scratch memory that begins there.
  template <Meet kMeet>
  T* pool(const Item& i, T* from) const {
    constexpr Meet kFirst = kMeet == Meet::kMaxAndPlace ? Meet::kMaxAndNumber : kMeet;
    T* to = from + scratch() / 2;
    i64 n[] = {axes[0].in, axes[1].in, axes[2].in};
    if (!places) n[0] = axes[0].out, n[1] = axes[1].out;
    n[lead] = places || lead == 2 ? i.in.end - i.in.begin : i.out.end - i.out.begin;
    for (int a = 2; a >= (places ? lead : 2); --a) {
      if (same[a] && !(a == 2 && places)) continue;
      const Range out = a == lead ? i.out : Range{0, axes[a].out};
      i64 outer = ceil_div(i.planes, kN), inner = kN;
      for (int b = lead; b < a; ++b) outer *= n[b];
      for (int b = a + 1; b < 3; ++b) inner *= n[b];
      const i64 shift = a == lead ? i.in.begin : 0, row = n[a] * inner;
      n[a] = out.end - out.begin;
      const i64 to_row = n[a] * inner;
      const bool across = inner < 4 * kN;  // lines that lie side by side, or one below the other
      const Lines lines = across ? Lines{outer, inner, row, to_row, size} : Lines{inner / kN, inner, kN, kN, size};
      const i64 times = across ? inner / kN : outer;
      const i64 from_set = across ? kN : row, to_set = across ? kN : to_row;
      const auto meet = a == 2 ? &meet_axis<T, kFirst, Axis> : &meet_axis<T, kMeet, Axis>;
      meet(axes[a], out, shift, lines, times, from_set, to_set, from, to);
      T* const old = from;
      from = to, to = old;
    }
    return from;
  }

  Axis axes[3];
  i64 planes, slice_in = 1, slice_out = 1;  // elements of one place of the leading axis
  bool places, same[3];
  int lead = 0;
  i64 height = 1, bands = 1, batch = 1, size = 0;
};

}  // namespace
}  // namespace jadro
