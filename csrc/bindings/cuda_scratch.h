// Scratch memory of one call. CuPy's allocator gives it, on CuPy's current stream, and has it back when the call
// returns: work enqueued later on that stream may use it, and by then the call's is done. On the host it is filled with
// NaN and stands between canaries.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/shapes.h"

namespace jadro::cuda {

#if defined(JADRO_CUDA_HOST)

class Scratch {
 public:
  explicit Scratch(i64 bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    memory_.assign(static_cast<std::size_t>(bytes) + 2 * kGuard, 0xFF);
    std::fill_n(memory_.begin(), kGuard, kCanary);
    std::fill_n(memory_.end() - kGuard, kGuard, kCanary);
  }
  void* data() const { return bytes_ == 0 ? nullptr : const_cast<unsigned char*>(memory_.data()) + kGuard; }
  bool intact() const {
    const auto is_canary = [](unsigned char byte) { return byte == kCanary; };
    return bytes_ == 0 || (std::all_of(memory_.begin(), memory_.begin() + kGuard, is_canary) &&
                           std::all_of(memory_.end() - kGuard, memory_.end(), is_canary));
  }

 private:
  static constexpr int kGuard = 256;
  static constexpr unsigned char kCanary = 0xA5;
  i64 bytes_;
  std::vector<unsigned char> memory_;
};

#else

class Scratch {
 public:
  explicit Scratch(i64 bytes) {
    if (bytes == 0) return;
    memory_ = pybind11::module_::import("cupy").attr("cuda").attr("alloc")(bytes);
    data_ = memory_.attr("ptr").cast<std::uintptr_t>();
  }
  void* data() const { return reinterpret_cast<void*>(data_); }
  bool intact() const { return true; }

 private:
  pybind11::object memory_;
  std::uintptr_t data_ = 0;
};

#endif

}  // namespace jadro::cuda
