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
void reduce_runs(Reduction what, const ReducedShape& s, const Split& runs, const float* x, float* y) {
  const Kernels<float>& k = kernels().f32;
  const Split widths(s.inner, kWidth, 64);
  const i64 items = s.outer * runs.count() * widths.count(), work = s.outer * s.n * s.inner / items;
  parallel_ranges(items, kGrain / (work + 16) + 1, 1, [&](Range range) {
    for (i64 item = range.begin; item < range.end; ++item) {
      const i64 row = item / widths.count(), outer = row / runs.count();
      const Range run = runs.range(row % runs.count()), width = widths.range(item % widths.count());
      const float* const from = x + (outer * s.n + run.begin) * s.inner + width.begin;
      float* const to = y + row * s.inner + width.begin;
      if (s.inner == 1) {
        k.reduce_rows(what, from, run.end - run.begin, 1, to);
      } else {
        k.reduce_columns(what, from, run.end - run.begin, s.inner, width.end - width.begin, to);
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

void reduce(Reduction what, const ReducedShape& s, const float* x, float* y) {
  const Split runs(s.n, s.inner == 1 ? kRun : kRuns, 1);
  if (runs.count() > 1) {
    const Scratch<float> parts(static_cast<std::size_t>(s.outer * runs.count() * s.inner));
    reduce_runs(what, s, runs, x, parts.data());
    const Reduction together = what == Reduction::kSquares ? Reduction::kSum : what;
    return reduce(together, {s.outer, runs.count(), s.inner}, parts.data(), y);
  }
  if (s.inner > 1) return reduce_runs(what, s, runs, x, y);
  for_rows(s, [&](Range r) { kernels().f32.reduce_rows(what, x + r.begin * s.n, s.n, r.end - r.begin, y + r.begin); });
}

void reduce_places(Reduction what, const ReducedShape& s, const float* x, float* y, i64* place) {
  const Kernels<float>& k = kernels().f32;
  for_rows(s, [&](Range r) {
    const i64 rows = r.end - r.begin;
    k.reduce_rows(what, x + r.begin * s.n, s.n, rows, y + r.begin);
    k.find_in_rows(x + r.begin * s.n, s.n, rows, y + r.begin, place + r.begin);
  });
}

void variance(const ReducedShape& s, double divisor, const float* x, float* y) {
  const bool rows = s.inner == 1;
  const ChannelShape shape = rows ? ChannelShape{1, s.outer, s.n} : ChannelShape{s.n, s.inner, 1};
  const ChannelPlan plan(shape, 1);
  const i64 pieces = plan.pieces.count();
  const Scratch<Moments> moments(static_cast<std::size_t>(pieces * shape.c));
  const Scratch<float> means(static_cast<std::size_t>(pieces * shape.c));
  for (i64 o = 0; o < (rows ? 1 : s.outer); ++o) {
    for_pieces(plan, [&](Range group, Range items, i64 piece) {
      kernels().f32.batch_norm_moments(shape, x + o * s.n * s.inner, group, items, means.data() + piece * shape.c,
                                       moments.data() + piece * shape.c);
    });
    for (i64 c = 0; c < shape.c; ++c) {
      Moments m{0, 0, 0};
      for (i64 piece = 0; piece < pieces; ++piece) m = merge(m, moments.data()[piece * shape.c + c]);
      y[o * shape.c + c] = static_cast<float>(m.squares / divisor);
    }
  }
}

}  // namespace jadro
