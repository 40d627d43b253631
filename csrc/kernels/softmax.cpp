#include "kernels/softmax.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.softmax_items = softmax_items<T>;
  k.softmax_forward = softmax_forward<T>;
  k.softmax_backward = softmax_backward<T>;
}

}  // namespace

void JADRO_TIER::set_softmax(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
