#include "ops/dropout.h"

#include "core/cpu.h"
#include "core/philox.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 14, kUnit = 64;

}  // namespace

template <class T>
void random_uniform(T* out, i64 n, u64 seed, u64 offset) {
  const Verbose<T> line("random_uniform", "philox", [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.random_uniform(out + r.begin, r.end - r.begin, seed, offset + static_cast<u64>(r.begin));
  });
}

template <class T>
void dropout(const T* x, T* y, i64 n, double p, u64 seed, u64 offset) {
  const Verbose<T> line("dropout", "philox", [&] { return sizes_text({n}); });
  const Kernels<T>& k = kernels_of<T>();
  const u32 threshold = philox_threshold(static_cast<float>(p));
  const T keep = p < 1 ? static_cast<T>(1 - p) : T(1);  // nothing is kept at p = 1: 0 / 1, not 0 / 0
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.dropout(x + r.begin, y + r.begin, r.end - r.begin, threshold, keep, seed, offset + static_cast<u64>(r.begin));
  });
}

template void random_uniform<float>(float*, i64, u64, u64);
template void random_uniform<double>(double*, i64, u64, u64);
template void dropout<float>(const float*, float*, i64, double, u64, u64);
template void dropout<double>(const double*, double*, i64, double, u64, u64);

}  // namespace jadro
