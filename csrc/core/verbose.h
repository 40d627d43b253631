// One line a kernel call, to standard error: op, dtype, shape, algorithm, instruction set, threads, milliseconds.
#pragma once

#include <atomic>
#include <chrono>
#include <initializer_list>
#include <string>

#include "core/shapes.h"

namespace jadro {

extern std::atomic<bool> verbose_on;  // at first whether JADRO_VERBOSE is set and not 0

std::string sizes_text(std::initializer_list<i64> sizes);  // 32x64x56x56

// Lives as long as the call. `shape` is a function that gives the text and is called only when the line will be
// printed:
//   const Verbose<T> line("gemm", "blocked", [&] { return sizes_text({g.m, g.n, g.k}); });
template <class T>
class Verbose {
 public:
  template <class Shape>
  Verbose(const char* op, const char* algorithm, Shape shape) {
    if (!verbose_on.load(std::memory_order_relaxed)) return;
    op_ = op;
    algorithm_ = algorithm;
    shape_ = shape();
    start_ = std::chrono::steady_clock::now();
  }
  ~Verbose() {
    if (op_) print();
  }
  Verbose(const Verbose&) = delete;
  Verbose& operator=(const Verbose&) = delete;

 private:
  void print() const;

  const char* op_ = nullptr;
  const char* algorithm_;
  std::string shape_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace jadro
