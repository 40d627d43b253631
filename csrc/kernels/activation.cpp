#include "kernels/activation.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.activation_forward = activation_forward<T>;
  k.activation_backward = activation_backward<T>;
  k.prelu_forward = prelu_forward<T>;
  k.prelu_backward = prelu_backward<T>;
}

}  // namespace

void JADRO_TIER::set_activation(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
