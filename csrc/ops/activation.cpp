#include "ops/activation.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15, kUnit = 64;

const char* name(Activation f) { return f == Activation::kRelu ? "relu" : f == Activation::kTanh ? "tanh" : "sigmoid"; }

}  // namespace

template <class T>
void activation_forward(Activation f, const T* x, T* y, i64 n) {
  const Verbose<T> line("activation_forward", name(f), [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  const bool past = x != y && past_caches<T>(n);
  parallel_ranges(n, kGrain, kUnit,
                  [&](Range r) { k.activation_forward(f, x + r.begin, y + r.begin, r.end - r.begin, past); });
}

template <class T>
void activation_backward(Activation f, const T* dy, const T* y, T* dx, i64 n) {
  const Verbose<T> line("activation_backward", name(f), [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  const bool past = dx != dy && dx != y && past_caches<T>(n);
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.activation_backward(f, dy + r.begin, y + r.begin, dx + r.begin, r.end - r.begin, past);
  });
}

template void activation_forward<float>(Activation, const float*, float*, i64);
template void activation_forward<double>(Activation, const double*, double*, i64);
template void activation_backward<float>(Activation, const float*, const float*, float*, i64);
template void activation_backward<double>(Activation, const double*, const double*, double*, i64);

}  // namespace jadro
