#include "ops/arithmetic.h"

#include "core/cpu.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15, kUnit = 64;

Operand<float> from(const Operand<float>& x, i64 i) { return {x.at + i * x.step, x.step}; }

}  // namespace

void arithmetic(Arithmetic f, Operand<float> a, Operand<float> b, float* y, i64 n) {
  const Kernels<float>& k = kernels().f32;
  parallel_ranges(n, f == Arithmetic::kExp ? kGrain / 4 : kGrain, kUnit,
                  [&](Range r) { k.arithmetic(f, from(a, r.begin), from(b, r.begin), y + r.begin, r.end - r.begin); });
}

void select(const unsigned char* mask, Operand<float> a, Operand<float> b, float* y, i64 n) {
  const Kernels<float>& k = kernels().f32;
  parallel_ranges(n, kGrain, kUnit, [&](Range r) {
    k.select(mask + r.begin, from(a, r.begin), from(b, r.begin), y + r.begin, r.end - r.begin);
  });
}

}  // namespace jadro
