#include "kernels/cross_entropy.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.cross_entropy_forward = cross_entropy_forward<T>;
  k.cross_entropy_backward = cross_entropy_backward<T>;
}

}  // namespace

void JADRO_TIER::set_cross_entropy(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
