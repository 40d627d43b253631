#include "cuda/host/cuda_host.h"

#include <setjmp.h>
#include <ucontext.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      return "a thread waits for ever at a barrier, or shared memory was overrun";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    default:
      return "no device";
  }
}

namespace jadro::cuda::host {
namespace {

constexpr std::size_t kStack = 64 << 10, kGuard = 64;
constexpr unsigned char kUnwritten = 0xFF, kCanary = 0xA5;

struct Fiber;

struct Barrier {
  std::size_t members = 0;
  std::vector<Fiber*> waiting;
};
struct Warp {
  Barrier barrier;
  std::uint64_t slots[4 * 32] = {};
};
struct Block {
  uint3 index;
  Barrier barrier;
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
};

// A stack, and the thread that runs on it.
struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStack]};
  jmp_buf state;
  bool started = false;
  Block* block = nullptr;
  unsigned thread = 0;
};

// One launch at a time, on the thread that asks for it.
struct Machine {
  std::mutex mutex;
  bool backward = false;
  std::size_t room = SIZE_MAX;
  const std::function<void()>* body = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::deque<Fiber*> ready;
  Barrier grid;
  Fiber* current = nullptr;
  jmp_buf scheduler;
};
Machine machine;

void release(Barrier& barrier) {
  machine.ready.insert(machine.ready.end(), barrier.waiting.begin(), barrier.waiting.end());
  barrier.waiting.clear();
}

__attribute__((noinline)) void suspend() {
  if (!_setjmp(machine.current->state)) _longjmp(machine.scheduler, 1);
}

void wait(Barrier& barrier) {
  barrier.waiting.push_back(machine.current);
  if (barrier.waiting.size() == barrier.members) release(barrier);
  suspend();
}

void leave(Barrier& barrier) {
  --barrier.members;
  if (barrier.members > 0 && barrier.waiting.size() == barrier.members) release(barrier);
}

Warp& warp_of(const Fiber& fiber) { return fiber.block->warps[fiber.thread / 32]; }

// A fiber runs one thread after the other.
void fiber_main() {
  for (;;) {
    (*machine.body)();
    Fiber* const fiber = machine.current;
    leave(warp_of(*fiber).barrier);
    leave(fiber->block->barrier);
    leave(machine.grid);
    machine.idle.push_back(fiber);
    suspend();
  }
}

__attribute__((noinline)) void resume(Fiber* fiber) {
  machine.current = fiber;
  const unsigned t = fiber->thread;
  threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
  blockIdx = fiber->block->index;
  if (_setjmp(machine.scheduler)) return;
  if (fiber->started) _longjmp(fiber->state, 1);
  fiber->started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->stack.get();
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  setcontext(&context);
}

Fiber* take_fiber() {
  if (machine.idle.empty()) {
    machine.fibers.push_back(std::make_unique<Fiber>());
    return machine.fibers.back().get();
  }
  Fiber* const fiber = machine.idle.back();
  machine.idle.pop_back();
  return fiber;
}

void prepare(Block& block, std::size_t index, unsigned threads, std::size_t shared) {
  block.index = {static_cast<unsigned>(index % gridDim.x), static_cast<unsigned>(index / gridDim.x % gridDim.y),
                 static_cast<unsigned>(index / gridDim.x / gridDim.y)};
  block.barrier.members = threads;
  block.warps.assign((threads + 31) / 32, Warp());
  for (unsigned t = 0; t < threads; ++t) ++block.warps[t / 32].barrier.members;
  block.shared.assign(shared + kGuard, kUnwritten);
  std::memset(block.shared.data() + shared, kCanary, kGuard);
}

bool guarded(const Block& block) {
  for (std::size_t i = block.shared.size() - kGuard; i < block.shared.size(); ++i) {
    if (block.shared[i] != kCanary) return false;
  }
  return true;
}

// Threads start in their order, each up to its first barrier; then they go on in the order in which they came there.
bool run_blocks(std::vector<Block>& blocks, unsigned threads) {
  const std::size_t all = blocks.size() * threads;
  machine.grid.members = all;
  for (std::size_t begun = 0;;) {
    Fiber* next;
    if (begun < all) {
      const std::size_t place = machine.backward ? all - 1 - begun : begun;
      next = take_fiber();
      next->block = &blocks[place / threads];
      next->thread = static_cast<unsigned>(place % threads);
      ++begun;
    } else if (!machine.ready.empty()) {
      next = machine.ready.front();
      machine.ready.pop_front();
    } else {
      break;
    }
    resume(next);
  }
  for (const Block& block : blocks) {
    if (!guarded(block)) return false;
  }
  return machine.grid.members == 0;
}

}  // namespace

cudaError_t run(dim3 blocks, dim3 threads, std::size_t shared, bool together, const std::function<void()>& body) {
  const unsigned each = threads.x * threads.y * threads.z;
  const std::size_t count = std::size_t{blocks.x} * blocks.y * blocks.z;
  if (count == 0 || each == 0 || each > 1024 || blocks.y > 65535 || blocks.z > 65535 || blocks.x > INT32_MAX) {
    return cudaErrorInvalidConfiguration;
  }
  const std::lock_guard<std::mutex> lock(machine.mutex);
  if (together && count > machine.room) return cudaErrorCooperativeLaunchTooLarge;
  machine.body = &body;
  blockDim = threads;
  gridDim = blocks;
  std::vector<Block> live(together ? count : 1);
  for (std::size_t first = 0; first < count; first += live.size()) {
    for (std::size_t i = 0; i < live.size(); ++i) {
      const std::size_t index = first + i;
      prepare(live[i], machine.backward && !together ? count - 1 - index : index, each, shared);
    }
    if (run_blocks(live, each)) continue;
    machine.ready.clear();
    machine.idle.clear();
    machine.fibers.clear();
    machine.grid = Barrier();
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

void set_room(unsigned blocks) { machine.room = blocks; }
void set_backward(bool backward) { machine.backward = backward; }
void* dynamic_shared() { return machine.current->block->shared.data(); }
void wait_for_block() { wait(machine.current->block->barrier); }
void wait_for_grid() { wait(machine.grid); }
void wait_for_warp() { wait(warp_of(*machine.current).barrier); }
std::uint64_t* warp_slots() { return warp_of(*machine.current).slots; }

}  // namespace jadro::cuda::host
