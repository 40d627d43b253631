#include "kernels/adam.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.adam_step = adam_step<T>;
}

}  // namespace

void JADRO_TIER::set_adam(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
