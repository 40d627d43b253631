#include "core/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace jadro {
namespace {

constexpr std::size_t kKeepLimit = std::size_t{1} << 30;  // freed bytes kept at most
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Four classes to a doubling: at most a quarter of a block is lost.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 256) return 256;
  std::size_t step = std::size_t{1} << (61 - __builtin_clzll(bytes - 1));
  return (bytes + step - 1) / step * step;
}

void* system_allocate(std::size_t bytes) {
  const std::size_t align = bytes >= kHugePage ? kHugePage : kAlign;
  void* block = nullptr;
  if (posix_memalign(&block, align, bytes) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (bytes >= kHugePage) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

struct Keeper {
  std::mutex mutex;
  std::unordered_map<std::size_t, std::vector<void*>> free;  // by size class
  std::unordered_map<void*, std::size_t> used;               // size class of each block handed out
  KeptMemory total{0, 0};
};
Keeper& keeper = *new Keeper;  // never destroyed: arrays outlive the module

// The lists are whole in a child of fork because nobody is changing them while the process forks.
[[maybe_unused]] const int registered =
    pthread_atfork([] { keeper.mutex.lock(); }, [] { keeper.mutex.unlock(); }, [] { keeper.mutex.unlock(); });

}  // namespace

void* keep_allocate(std::size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) throw std::bad_alloc();
  const std::size_t size = size_class(bytes);
  std::lock_guard<std::mutex> lock(keeper.mutex);
  std::vector<void*>& list = keeper.free[size];
  void* block = nullptr;
  if (list.empty()) {
    block = system_allocate(size);
  } else {
    block = list.back();
    list.pop_back();
    keeper.total.kept -= size;
  }
  keeper.used.emplace(block, size);
  keeper.total.in_use += size;
#ifdef JADRO_POISON
  std::memset(block, 0xFF, size);  // NaN, so that what is read before it is written is seen in a result
#endif
  return block;
}

void keep_free(void* block) {
  if (!block) return;
  std::lock_guard<std::mutex> lock(keeper.mutex);
  const auto found = keeper.used.find(block);
  const std::size_t size = found->second;
  keeper.used.erase(found);
  keeper.total.in_use -= size;
  if (keeper.total.kept + size > kKeepLimit) {
    std::free(block);
  } else {
    keeper.free[size].push_back(block);
    keeper.total.kept += size;
  }
}

KeptMemory kept_memory() {
  std::lock_guard<std::mutex> lock(keeper.mutex);
  return keeper.total;
}

void release_memory() {
  std::lock_guard<std::mutex> lock(keeper.mutex);
  for (auto& [size, list] : keeper.free) {
    for (void* block : list) std::free(block);
    list.clear();
  }
  keeper.total.kept = 0;
}

}  // namespace jadro
