#include "ops/softmax.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 12;

// f(items) for all rows or columns.
template <class T, class F>
void run(const char* call, const Softmax& s, F f) {
  const Verbose<T> line(call, s.log ? "log" : "plain", [&] { return sizes_text({s.outer, s.n, s.inner}); });
  if (s.outer == 0 || s.n == 0 || s.inner == 0) return;
  const i64 items = kernels_of<T>().softmax_items(s);
  parallel_ranges(items, kGrain / (s.outer * s.n * s.inner / items + 1) + 1, 1, f);
}

}  // namespace

template <class T>
void softmax_forward(const Softmax& s, const T* x, T* y) {
  run<T>("softmax_forward", s, [&](Range items) { kernels_of<T>().softmax_forward(s, x, items, y); });
}

template <class T>
void softmax_backward(const Softmax& s, const T* dy, const T* y, T* dx) {
  run<T>("softmax_backward", s, [&](Range items) { kernels_of<T>().softmax_backward(s, dy, y, items, dx); });
}

template void softmax_forward<float>(const Softmax&, const float*, float*);
template void softmax_forward<double>(const Softmax&, const double*, double*);
template void softmax_backward<float>(const Softmax&, const float*, const float*, float*);
template void softmax_backward<double>(const Softmax&, const double*, const double*, double*);

}  // namespace jadro
