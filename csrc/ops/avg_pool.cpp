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

// Memory of `count` numbers: on the stack where they are few.
template <class T>
class Table {
 public:
  explicit Table(i64 count)
      : many_(static_cast<std::size_t>(count > kFew ? count : 0)), data_(count > kFew ? many_.data() : few_) {}
  T* data() const { return data_; }

 private:
  static constexpr i64 kFew = 128;
  Scratch<T> many_;
  T* data_;
  T few_[kFew];
};

// The windows of one axis, and the tables that the kernels read.
template <class T>
class Axis {
 public:
  Axis(i64 in, i64 out) : windows_(2 * out), places_(2 * in), count_(out), in_(in), out_(out) {}

  __attribute__((noinline)) void fill(const AvgPoolWindows& w, bool padding_counts, i64 divisor) {
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

  // With `places` for each place the windows that see it, too: both ends of windows only move forward.
  __attribute__((noinline)) AvgPoolAxis<T> view(const AvgPoolWindows& w, bool places) const {
    i64 *const first = places_.data(), *const last = first + in_;
    i64 a = 0, b = 0;
    for (i64 i = 0; places && i < in_; ++i) {
      while (a < out_ && end()[a] <= i) ++a;
      while (b < out_ && begin()[b] <= i) ++b;
      first[i] = a;
      last[i] = b;
    }
    const i64 pad = w.kernel ? w.before : 0;
    return {in_, out_, w.kernel, std::max(w.stride, i64{1}), pad, begin(), end(), first, last, count_.data()};
  }

 private:
  i64* begin() const { return windows_.data(); }
  i64* end() const { return windows_.data() + out_; }

  Table<i64> windows_, places_;
  Table<T> count_;
  i64 in_, out_;
};

// Without trailing axes of one place that no window leaves: columns are rows.
AvgPoolProblem as_rows(AvgPoolProblem p) {
  const auto single = [](const AvgPoolWindows& a) {
    return a.in == 1 && a.out == 1 && a.kernel <= 1 && a.before == 0 && a.after == 0;
  };
  for (int axis = 0; axis < 2 && single(p.w); ++axis) p.w = p.h, p.h = p.d, p.d = {1, 1, 1, 1, 0, 0};
  return p;
}

template <class T>
void run(const AvgPool<T>& p, bool backward, const T* from, T* to) {
  const Kernels<T>& k = kernels_of<T>();
  const PoolWork work = k.avg_pool_work(p, backward);
  const i64 places = p.planes * p.d.in * p.h.in * p.w.in, cells = places + p.planes * p.d.out * p.h.out * p.w.out;
  const Split pieces(work.items, kGrain / (cells / work.items + 1) + 1, 1);
  const int tasks = static_cast<int>(pieces.count()), threads = tasks > 1 ? num_threads() : 1;
  const Scratch<T> scratch(static_cast<std::size_t>(work.scratch), threads);
  const bool past = past_caches<T>(places);
  parallel_for(tasks, threads, [&](int task, int rank) {
    const Range items = pieces.range(task);
    backward ? k.avg_pool_backward(p, from, items, to, scratch.at(rank), past)
             : k.avg_pool_forward(p, from, items, to, scratch.at(rank));
  });
}

// Where one window covers a whole axis, its rows are one run: global pooling is a sum over a plane.
template <class T>
void run(const AvgPoolProblem& p, bool backward, const T* from, T* to) {
  constexpr AvgPoolWindows kRuns = {0, 0, 0, 1, 0, 0};  // of places, not of one kernel
  Axis<T> d(p.d.in, p.d.out), h(p.h.in, p.h.out), w(p.w.in, p.w.out), none(1, 1);
  d.fill(p.d, p.padding_counts, p.divisor ? 1 : 0);
  h.fill(p.h, p.padding_counts, p.divisor ? 1 : 0);
  w.fill(p.w, p.padding_counts, p.divisor);
  none.fill({1, 1, 1, 1, 0, 0}, false, 1);
  const AvgPoolAxis<T> one = none.view(kRuns, backward);
  const i64 plane = p.h.in * p.w.in, volume = p.d.in * plane;
  const bool rows = w.covers_all() && plane <= kLongestRow;
  Axis<T> planes(rows ? plane : 0, rows ? p.h.out : 0);
  if (rows) planes.fill(h, p.w.in, w.count());
  const bool all = rows && planes.covers_all() && volume <= kLongestRow;
  Axis<T> volumes(all ? volume : 0, all ? p.d.out : 0);
  if (all) volumes.fill(d, plane, planes.count());
  AvgPool<T> pool{p.planes, one, one, one};
  if (!all) pool.d = d.view(p.d, backward);
  if (!rows) pool.h = h.view(p.h, backward);
  pool.w = all ? volumes.view(kRuns, backward) : rows ? planes.view(kRuns, backward) : w.view(p.w, backward);
  run(pool, backward, from, to);
}

template <class T>
void run(const char* call, const AvgPoolProblem& shape, bool backward, const T* from, T* to) {
  const AvgPoolProblem p = as_rows(shape);
  const Verbose<T> line(call, p.w.kernel ? "windows" : "adaptive", [&] {
    return sizes_text({p.planes, p.d.in, p.h.in, p.w.in}) + " to " + sizes_text({p.d.out, p.h.out, p.w.out});
  });
  if (p.planes) run(p, backward, from, to);
}

}  // namespace

template <class T>
void avg_pool_forward(const AvgPoolProblem& problem, const T* x, T* y) {
  run("avg_pool_forward", problem, false, x, y);
}

template <class T>
void avg_pool_backward(const AvgPoolProblem& problem, const T* dy, T* dx) {
  run("avg_pool_backward", problem, true, dy, dx);
}

template void avg_pool_forward<float>(const AvgPoolProblem&, const float*, float*);
template void avg_pool_forward<double>(const AvgPoolProblem&, const double*, double*);
template void avg_pool_backward<float>(const AvgPoolProblem&, const float*, float*);
template void avg_pool_backward<double>(const AvgPoolProblem&, const double*, double*);

}  // namespace jadro
