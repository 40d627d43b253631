#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace jadro {
namespace {

constexpr int kSpins = 4000;  // some tens of microseconds: longer than the gap between two kernels of one step

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until ready() by spinning, then by giving the core away between looks.
template <class Ready>
void spin_until(Ready ready) {
  for (int spins = 0; !ready(); ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      sched_yield();
    }
  }
}

int default_threads() {
  const char* const text = std::getenv("JADRO_NUM_THREADS");
  if (text && *text) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*end || n < 1 || n > 65535) {
      throw std::invalid_argument(std::string("JADRO_NUM_THREADS is '") + text + "', expected 1..65535");
    }
    return static_cast<int>(n);
  }
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

thread_local bool inside = false;  // this thread is running a task

// Tasks are claimed by counting `ticket` down: its upper half is the number of the job, its lower half how many tasks
// are left. A job's fields change only while no task is left, so a thread that has claimed one may read them.
class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    workers_.reserve(threads - 1);
    try {
      for (int rank = 1; rank < threads; ++rank) workers_.emplace_back([this, rank] { work(rank); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Pool() { stop(); }

  int threads() const { return threads_; }

  void run(int tasks, TaskBody body, void* context) {
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t job = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
    ticket_.store(job << 32 | static_cast<std::uint32_t>(tasks));
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      wake_.notify_all();
    }
    inside = true;
    while (step(0)) {
    }
    inside = false;
    spin_until([&] { return done_.load(std::memory_order_acquire) == tasks; });
  }

 private:
  bool step(int rank) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
      if (static_cast<std::uint32_t>(ticket) == 0) return false;
    } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel));
    body_(context_, tasks_ - static_cast<int>(static_cast<std::uint32_t>(ticket)), rank);
    done_.fetch_add(1, std::memory_order_acq_rel);
    return true;
  }

  bool idle() const { return static_cast<std::uint32_t>(ticket_.load()) == 0; }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void work(int rank) {
    inside = true;
    for (;;) {
      for (int spins = 0; idle() && spins < kSpins; ++spins) pause();
      if (idle()) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return stop_ || !idle(); });
        sleepers_.fetch_sub(1);
        if (stop_) return;
      }
      while (step(rank)) {
      }
    }
  }

  const int threads_;
  std::vector<std::thread> workers_;
  TaskBody body_ = nullptr;
  void* context_ = nullptr;
  int tasks_ = 0;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
};

// Never destroyed: workers may be asleep when the process ends.
struct State {
  std::mutex owner;  // held by the one caller that has the pool
  Pool* pool = nullptr;
  std::atomic<int> threads{0};  // 0: not yet decided
};
State* state = new State;

// A child of fork has none of its parent's threads, and locks in any state: it starts afresh.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] {
  const int threads = state->threads.load();
  state = new State;
  state->threads.store(threads);
  inside = false;
});

// The pool, if this caller may have it now: not from inside a task, not while another caller has it.
Pool* take(int threads, std::unique_lock<std::mutex>& owner) {
  if (threads == 1 || inside) return nullptr;
  State& s = *state;
  owner = std::unique_lock<std::mutex>(s.owner, std::try_to_lock);
  if (!owner) return nullptr;
  if (!s.pool || s.pool->threads() != threads) {
    delete s.pool;
    s.pool = nullptr;
    s.pool = new Pool(threads);
  }
  return s.pool;
}

}  // namespace

int num_threads() {
  int n = state->threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_threads();
    state->threads.store(n);
  }
  return n;
}

int threads_for(std::int64_t work) {
  constexpr std::int64_t kLeast = 1 << 17;  // some microseconds of one core
  return work < kLeast ? 1 : num_threads();
}

void set_num_threads(int n) { state->threads.store(n); }

void parallel_for(int tasks, int threads, TaskBody body, void* context) {
  std::unique_lock<std::mutex> owner;
  Pool* pool = tasks > 1 ? take(threads, owner) : nullptr;
  if (pool) return pool->run(tasks, body, context);
  for (int task = 0; task < tasks; ++task) body(context, task, 0);
}

void team_run(int size, TeamBody body, void* context) {
  struct Team {
    TeamBody body;
    void* context;
    int size;
    Barrier barrier;
  };
  std::unique_lock<std::mutex> owner;
  const int threads = num_threads();
  Pool* pool = size > 1 ? take(threads, owner) : nullptr;
  const int members = !pool ? 1 : size < threads ? size : threads;
  Team team{body, context, members, Barrier(members)};
  if (!pool) return body(context, 0, 1, team.barrier);
  // A thread that waits at the barrier cannot claim a second rank, so every rank gets a thread of its own.
  pool->run(
      members,
      [](void* context, int task, int) {
        Team& team = *static_cast<Team*>(context);
        team.body(team.context, task, team.size, team.barrier);
      },
      &team);
}

void Barrier::wait() {
  if (members_ == 1) return;
  const unsigned phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == members_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
  } else {
    spin_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace jadro
