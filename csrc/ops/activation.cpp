#include "ops/activation.h"

#include "core/cpu.h"
#include "core/memory.h"
#include "core/verbose.h"
#include "ops/channels.h"

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

template <class T>
void prelu_forward(const ChannelShape& s, const T* x, const T* w, T* y) {
  const Verbose<T> line("prelu_forward", "channels", [&] { return sizes_text({s.n, s.c, s.s}); });
  const ChannelPlan plan(s, 1);
  const bool past = x != y && past_caches<T>(s.c * plan.items);
  for_pieces(plan,
             [&](Range group, Range items, i64) { kernels_of<T>().prelu_forward(s, x, w, group, items, y, past); });
}

template <class T>
void prelu_backward(const ChannelShape& s, const T* dy, const T* x, const T* w, T* dx, T* dw) {
  const Verbose<T> line("prelu_backward", "channels", [&] { return sizes_text({s.n, s.c, s.s}); });
  const ChannelPlan plan(s, 1);
  const i64 pieces = dw ? plan.pieces.count() : 0;
  const bool past = dx != dy && dx != x && past_caches<T>(s.c * plan.items);
  const Scratch<double> sums(static_cast<std::size_t>(pieces * s.c));
  for_pieces(plan, [&](Range group, Range items, i64 piece) {
    kernels_of<T>().prelu_backward(s, dy, x, w, group, items, dx, dw ? sums.data() + piece * s.c : nullptr, past);
  });
  for (i64 c = 0; dw && c < s.c; ++c) {
    double sum = 0;
    for (i64 piece = 0; piece < pieces; ++piece) sum += sums.data()[piece * s.c + c];
    dw[c] = static_cast<T>(sum);
  }
}

template void activation_forward<float>(const ActivationFunction&, const float*, float*, i64);
template void activation_forward<double>(const ActivationFunction&, const double*, double*, i64);
template void activation_backward<float>(const ActivationFunction&, const float*, const float*, float*, i64);
template void activation_backward<double>(const ActivationFunction&, const double*, const double*, double*, i64);
template void prelu_forward<float>(const ChannelShape&, const float*, const float*, float*);
template void prelu_forward<double>(const ChannelShape&, const double*, const double*, double*);
template void prelu_backward<float>(const ChannelShape&, const float*, const float*, const float*, float*, float*);
template void prelu_backward<double>(const ChannelShape&, const double*, const double*, const double*, double*,
                                     double*);

}  // namespace jadro
