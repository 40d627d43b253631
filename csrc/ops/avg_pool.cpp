#include "ops/avg_pool.h"

#include <algorithm>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15;       // numbers read and written
constexpr i64 kLongestRow = 1 << 16;  // numbers of a row that stays in the cache of a core

// The windows of one axis, and the tables that the kernels read, in memory of the size that `numbers` says.
template <class T>
class Axis {
 public:
  Axis(i64 in, i64 out)
      : table_(static_cast<std::size_t>(2 * (in + out))), count_(static_cast<std::size_t>(out)), in_(in), out_(out) {}

  void fill(const AvgPoolWindows& w, bool padding_counts, i64 divisor) {
    for (i64 o = 0; o < w.out; ++o) {
      i64 start = o * w.stride - w.before, stop = std::min(start + w.kernel, w.in + w.after);
      if (w.kernel == 0) start = o * w.in / w.out, stop = ((o + 1) * w.in + w.out - 1) / w.out;
      begin()[o] = std::max(start, i64{0});
      end()[o] = std::min(stop, w.in);
      const i64 count = divisor ? divisor : padding_counts ? stop - start : end()[o] - begin()[o];
      count_.data()[o] = static_cast<T>(count);
    }
  }

  // The windows of this axis as runs of whole rows of the next, which has `row` places under one window, counted as
  // `count`.
  void fill(const Axis& outer, i64 row, T count) {
    for (i64 o = 0; o < out_; ++o) {
      begin()[o] = outer.begin()[o] * row;
      end()[o] = outer.end()[o] * row;
      count_.data()[o] = outer.count_.data()[o] * count;
    }
  }

  bool covers_all() const { return out_ == 1 && begin()[0] == 0 && end()[0] == in_; }
  T count() const { return count_.data()[0]; }

  // For each place the windows that see it: both ends of windows only move forward.
  AvgPoolAxis<T> view(i64 kernel, i64 stride, i64 pad) {
    i64 *const first = table_.data() + 2 * out_, *const last = first + in_;
    i64 a = 0, b = 0;
    for (i64 i = 0; i < in_; ++i) {
      while (a < out_ && end()[a] <= i) ++a;
      while (b < out_ && begin()[b] <= i) ++b;
      first[i] = a;
      last[i] = b;
    }
    return {in_, out_, kernel, stride, pad, begin(), end(), first, last, count_.data()};
  }

 private:
  i64* begin() const { return table_.data(); }
  i64* end() const { return table_.data() + out_; }

  Scratch<i64> table_;
  Scratch<T> count_;
  i64 in_, out_;
};

template <class T>
AvgPoolAxis<T> view_of(Axis<T>& axis, const AvgPoolWindows& w) {
  return axis.view(w.kernel, std::max(w.stride, i64{1}), w.kernel ? w.before : 0);
}

// Without trailing axes of one place that no window leaves: columns are rows.
AvgPoolProblem as_rows(AvgPoolProblem p) {
  const auto single = [](const AvgPoolWindows& a) {
    return a.in == 1 && a.out == 1 && a.kernel <= 1 && a.before == 0 && a.after == 0;
  };
  for (int axis = 0; axis < 2 && single(p.w); ++axis) p.w = p.h, p.h = p.d, p.d = {1, 1, 1, 1, 0, 0};
  return p;
}

// f(AvgPool). Where one window covers a whole axis, its rows are one run: global pooling is a sum over a plane.
template <class T, class F>
void with_tables(const AvgPoolProblem& p, F f) {
  Axis<T> d(p.d.in, p.d.out), h(p.h.in, p.h.out), w(p.w.in, p.w.out), none(1, 1);
  d.fill(p.d, p.padding_counts, p.divisor ? 1 : 0);
  h.fill(p.h, p.padding_counts, p.divisor ? 1 : 0);
  w.fill(p.w, p.padding_counts, p.divisor);
  none.fill({1, 1, 1, 1, 0, 0}, false, 1);
  const AvgPoolAxis<T> one = none.view(0, 1, 0);
  if (!w.covers_all() || p.h.in * p.w.in > kLongestRow) {
    return f(AvgPool<T>{p.planes, view_of(d, p.d), view_of(h, p.h), view_of(w, p.w)});
  }
  Axis<T> planes(p.h.in * p.w.in, p.h.out);
  planes.fill(h, p.w.in, w.count());
  if (!planes.covers_all() || p.d.in * p.h.in * p.w.in > kLongestRow) {
    return f(AvgPool<T>{p.planes, view_of(d, p.d), one, planes.view(0, 1, 0)});
  }
  Axis<T> volumes(p.d.in * p.h.in * p.w.in, p.d.out);
  volumes.fill(d, p.h.in * p.w.in, planes.count());
  f(AvgPool<T>{p.planes, one, one, volumes.view(0, 1, 0)});
}

template <class T, class F>
void run(const AvgPool<T>& p, bool backward, F f) {
  const PoolWork work = kernels_of<T>().avg_pool_work(p, backward);
  const i64 cells = p.planes * (p.d.in * p.h.in * p.w.in + p.d.out * p.h.out * p.w.out);
  const Split pieces(work.items, kGrain / (cells / work.items + 1) + 1, 1);
  const int tasks = static_cast<int>(pieces.count()), threads = tasks > 1 ? num_threads() : 1;
  const Scratch<T> scratch(static_cast<std::size_t>(work.scratch), threads);
  parallel_for(tasks, threads, [&](int task, int rank) { f(pieces.range(task), scratch.at(rank)); });
}

template <class T>
Verbose<T> line_of(const char* call, const AvgPoolProblem& p) {
  return Verbose<T>(call, p.w.kernel ? "windows" : "adaptive", [&] {
    return sizes_text({p.planes, p.d.in, p.h.in, p.w.in}) + " to " + sizes_text({p.d.out, p.h.out, p.w.out});
  });
}

}  // namespace

template <class T>
void avg_pool_forward(const AvgPoolProblem& shape, const T* x, T* y) {
  const AvgPoolProblem problem = as_rows(shape);
  const auto line = line_of<T>("avg_pool_forward", problem);
  if (problem.planes == 0) return;
  with_tables<T>(problem, [&](const AvgPool<T>& p) {
    run(p, false, [&](Range r, T* scratch) { kernels_of<T>().avg_pool_forward(p, x, r, y, scratch); });
  });
}

template <class T>
void avg_pool_backward(const AvgPoolProblem& shape, const T* dy, T* dx) {
  const AvgPoolProblem problem = as_rows(shape);
  const auto line = line_of<T>("avg_pool_backward", problem);
  if (problem.planes == 0) return;
  with_tables<T>(problem, [&](const AvgPool<T>& p) {
    const bool past = past_caches<T>(p.planes * p.d.in * p.h.in * p.w.in);
    run(p, true, [&](Range r, T* scratch) { kernels_of<T>().avg_pool_backward(p, dy, r, dx, scratch, past); });
  });
}

template void avg_pool_forward<float>(const AvgPoolProblem&, const float*, float*);
template void avg_pool_forward<double>(const AvgPoolProblem&, const double*, double*);
template void avg_pool_backward<float>(const AvgPoolProblem&, const float*, float*);
template void avg_pool_backward<double>(const AvgPoolProblem&, const double*, double*);

}  // namespace jadro
