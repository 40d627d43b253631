#include "ops/arithmetic.h"

#include "core/cpu.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15, kUnit = 64;

template <class T>
Operand<T> from(const Operand<T>& x, i64 i) {
  return {x.at + i * x.step, x.step};
}

}  // namespace

template <class T>
void arithmetic(Arithmetic f, Operand<T> a, Operand<T> b, T* y, i64 n) {
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(n, f == Arithmetic::kExp ? kGrain / 4 : kGrain, kUnit,
                  [&](Range r) { k.arithmetic(f, from(a, r.begin), from(b, r.begin), y + r.begin, r.end - r.begin); });
}

template <class T>
void select(const unsigned char* mask, Operand<T> a, Operand<T> b, T* y, i64 n) {
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.select(mask + r.begin, from(a, r.begin), from(b, r.begin), y + r.begin, r.end - r.begin);
  });
}

template void arithmetic<float>(Arithmetic, Operand<float>, Operand<float>, float*, i64);
template void arithmetic<double>(Arithmetic, Operand<double>, Operand<double>, double*, i64);
template void select<float>(const unsigned char*, Operand<float>, Operand<float>, float*, i64);
template void select<double>(const unsigned char*, Operand<double>, Operand<double>, double*, i64);

}  // namespace jadro
