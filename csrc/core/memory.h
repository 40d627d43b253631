// Memory that the library keeps: a freed block goes to a list of its size class and is handed out again, because the
// first touch of fresh pages costs more than most kernels (2 GB/s with 4 KiB pages).
#pragma once

#include <cstddef>

namespace jadro {

constexpr std::size_t kAlign = 64;

void* keep_allocate(std::size_t bytes);  // aligned to kAlign; throws std::bad_alloc
void keep_free(void* block);

struct KeptMemory {
  std::size_t in_use, kept;
};
KeptMemory kept_memory();
void release_memory();

alignas(kAlign) inline char no_memory[kAlign];  // where there are no elements

// Scratch memory of one call: `count` elements of T for each of `threads` ranks, each aligned.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t count, std::size_t threads = 1)
      : stride_((count + kAlign - 1) / kAlign * kAlign),
        data_(static_cast<T*>(count ? keep_allocate(stride_ * threads * sizeof(T)) : no_memory)) {}
  ~Scratch() {
    if (stride_) keep_free(data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* at(int rank) const { return data_ + stride_ * static_cast<std::size_t>(rank); }
  T* data() const { return data_; }

 private:
  std::size_t stride_;
  T* data_;
};

}  // namespace jadro
