#include "ops/reduce.h"

#include "core/cpu.h"
#include "core/memory.h"
#include "ops/channels.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 14;
constexpr i64 kRun = 4096;                 // numbers of a row that are summed at once
constexpr i64 kRuns = 256, kWidth = 2048;  // of columns

// Runs of n are reduced to y[outer,runs,inner].
template <class T>
void reduce_runs(Reduction what, const ReducedShape& s, const Split& runs, const T* x, T* y) {
  const Kernels<T>& kernels = kernels_of<T>();
  const Split widths(s.inner, kWidth, 64);
  const i64 items = s.outer * runs.count() * widths.count(), work = s.outer * s.n * s.inner / items;
  parallel_ranges(items, kGrain / (work + 16) + 1, 1, [&](Range range) {
    for (i64 item = range.begin; item < range.end; ++item) {
      const i64 row = item / widths.count(), outer = row / runs.count();
      const Range run = runs.range(row % runs.count()), width = widths.range(item % widths.count());
      const T* const from = x + (outer * s.n + run.begin) * s.inner + width.begin;
      T* const to = y + row * s.inner + width.begin;
      if (s.inner == 1) {
        kernels.reduce_rows(what, from, run.end - run.begin, 1, to);
      } else {
        kernels.reduce_columns(what, from, run.end - run.begin, s.inner, width.end - width.begin, to);
      }
    }
  });
}

// f(rows) for the rows of x[outer,n].
template <class F>
void for_rows(const ReducedShape& s, F f) {
  parallel_ranges(s.outer, kGrain / (s.n + 16) + 1, 1, f);
}

}  // namespace

template <class T>
void reduce(Reduction what, const ReducedShape& s, const T* x, T* y) {
  const Split runs(s.n, s.inner == 1 ? kRun : kRuns, 1);
  if (runs.count() > 1) {
    const Scratch<T> parts(static_cast<std::size_t>(s.outer * runs.count() * s.inner));
    reduce_runs(what, s, runs, x, parts.data());
    const Reduction together = what == Reduction::kSquares ? Reduction::kSum : what;
    return reduce(together, {s.outer, runs.count(), s.inner}, parts.data(), y);
  }
  if (s.inner > 1) return reduce_runs(what, s, runs, x, y);
  for_rows(s,
           [&](Range r) { kernels_of<T>().reduce_rows(what, x + r.begin * s.n, s.n, r.end - r.begin, y + r.begin); });
}

template <class T>
void reduce_places(Reduction what, const ReducedShape& s, const T* x, T* y, i64* place) {
  const Kernels<T>& kernels = kernels_of<T>();
  for_rows(s, [&](Range r) {
    const i64 rows = r.end - r.begin;
    kernels.reduce_rows(what, x + r.begin * s.n, s.n, rows, y + r.begin);
    kernels.find_in_rows(x + r.begin * s.n, s.n, rows, y + r.begin, place + r.begin);
  });
}

template <class T>
void variance(const ReducedShape& s, double divisor, const T* x, T* y) {
  const bool rows = s.inner == 1;
  const ChannelShape shape = rows ? ChannelShape{1, s.outer, s.n} : ChannelShape{s.n, s.inner, 1};
  const ChannelPlan plan(shape, 1);
  const i64 pieces = plan.pieces.count();
  const Scratch<Moments> moments(static_cast<std::size_t>(pieces * shape.c));
  const Scratch<T> means(static_cast<std::size_t>(pieces * shape.c));
  for (i64 o = 0; o < (rows ? 1 : s.outer); ++o) {
    for_pieces(plan, [&](Range group, Range items, i64 piece) {
      kernels_of<T>().batch_norm_moments(shape, x + o * s.n * s.inner, group, items, means.data() + piece * shape.c,
                                         moments.data() + piece * shape.c);
    });
    for (i64 c = 0; c < shape.c; ++c) {
      Moments m{0, 0, 0};
      for (i64 piece = 0; piece < pieces; ++piece) m = merge(m, moments.data()[piece * shape.c + c]);
      y[o * shape.c + c] = static_cast<T>(m.squares / divisor);
    }
  }
}

template void reduce<float>(Reduction, const ReducedShape&, const float*, float*);
template void reduce<double>(Reduction, const ReducedShape&, const double*, double*);
template void reduce_places<float>(Reduction, const ReducedShape&, const float*, float*, i64*);
template void reduce_places<double>(Reduction, const ReducedShape&, const double*, double*, i64*);
template void variance<float>(const ReducedShape&, double, const float*, float*);
template void variance<double>(const ReducedShape&, double, const double*, double*);

}  // namespace jadro
