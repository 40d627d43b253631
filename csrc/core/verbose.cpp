#include "core/verbose.h"

#include <cstdio>
#include <cstdlib>

#include "core/cpu.h"
#include "core/thread_pool.h"

namespace jadro {
namespace {

bool wanted() {
  const char* text = std::getenv("JADRO_VERBOSE");
  return text && *text && std::string(text) != "0";
}

}  // namespace

std::atomic<bool> verbose_on{wanted()};

std::string sizes_text(std::initializer_list<i64> sizes) {
  std::string text;
  for (i64 size : sizes) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

template <class T>
void Verbose<T>::print() const {
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start_;
  std::fprintf(stderr, "jadro: %s, %s, %s, %s, %s, %d threads, %.4f ms\n", op_, sizeof(T) == 4 ? "float32" : "float64",
               shape_.c_str(), algorithm_, kernels().isa, num_threads(), time.count());
}

template class Verbose<float>;
template class Verbose<double>;

}  // namespace jadro
