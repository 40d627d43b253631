// A persistent team of threads. Work is given out task by task; who computes a task never changes its result, so
// results are the same bits for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace jadro {

int num_threads();
void set_num_threads(int n);

// num_threads(), or 1 for less work than waking them repays; `work` in multiply-adds or elements.
int threads_for(std::int64_t work);

// Runs body(context, task, rank) for every task in [0, tasks) on at most `threads` threads; rank < threads tells the
// threads of one call apart. Runs serially with rank 0 inside another parallel_for, or while another caller has the
// pool. A call that gives each rank scratch memory reads num_threads() once, for both: another Python thread may change
// it at any time.
using TaskBody = void (*)(void* context, int task, int rank);
void parallel_for(int tasks, int threads, TaskBody body, void* context);

template <class F>
void parallel_for(int tasks, int threads, F&& f) {
  using Body = std::remove_reference_t<F>;
  parallel_for(
      tasks, threads, [](void* context, int task, int rank) { (*static_cast<Body*>(context))(task, rank); },
      const_cast<void*>(static_cast<const void*>(&f)));
}
template <class F>
void parallel_for(int tasks, F&& f) {
  parallel_for(tasks, num_threads(), f);
}

// The barrier of a team: spins for a bounded time, then lets other processes run.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}
  void wait();

 private:
  const int members_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> phase_{0};
};

// Runs body(rank, size, barrier) on `size` <= num_threads() threads at once; the size may come out smaller (1 when
// nested or when the pool is taken).
using TeamBody = void (*)(void* context, int rank, int size, Barrier& barrier);
void team_run(int size, TeamBody body, void* context);

template <class F>
void team_run(int size, F&& f) {
  using Body = std::remove_reference_t<F>;
  team_run(
      size,
      [](void* context, int rank, int team, Barrier& barrier) { (*static_cast<Body*>(context))(rank, team, barrier); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace jadro
