#include "kernels/arithmetic.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.arithmetic = arithmetic<T>;
  k.select = select<T>;
}

}  // namespace

void JADRO_TIER::set_arithmetic(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
