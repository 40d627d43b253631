#include "ops/activation.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15, kUnit = 64;
constexpr const char* kNames[] = {"relu",      "tanh", "sigmoid",  "leaky_relu", "elu",  "gelu",
                                  "gelu_tanh", "silu", "hardtanh", "softplus",   nullptr};

}  // namespace

const char* activation_name(int number) { return kNames[number]; }

template <class T>
void activation_forward(const ActivationFunction& f, const T* x, T* y, i64 n) {
  const Verbose<T> line("activation_forward", activation_name(static_cast<int>(f.f)), [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  const T a = static_cast<T>(f.a), b = static_cast<T>(f.b);
  const bool past = x != y && past_caches<T>(n);
  parallel_ranges(n, kGrain, kUnit,
                  [&](Range r) { k.activation_forward(f.f, a, b, x + r.begin, y + r.begin, r.end - r.begin, past); });
}

template <class T>
void activation_backward(const ActivationFunction& f, const T* dy, const T* v, T* dx, i64 n) {
  const Verbose<T> line("activation_backward", activation_name(static_cast<int>(f.f)), [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  const T a = static_cast<T>(f.a), b = static_cast<T>(f.b);
  const bool past = dx != dy && dx != v && past_caches<T>(n);
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.activation_backward(f.f, a, b, dy + r.begin, v + r.begin, dx + r.begin, r.end - r.begin, past);
  });
}

template void activation_forward<float>(const ActivationFunction&, const float*, float*, i64);
template void activation_forward<double>(const ActivationFunction&, const double*, double*, i64);
template void activation_backward<float>(const ActivationFunction&, const float*, const float*, float*, i64);
template void activation_backward<double>(const ActivationFunction&, const double*, const double*, double*, i64);

}  // namespace jadro
