#include "kernels/pool2d.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.max_pool2d_work = max_pool2d_work<T>;
  k.max_pool2d_forward = max_pool2d_forward<T>;
  k.max_pool2d_indices_inside = max_pool2d_indices_inside;
  k.max_pool2d_backward = max_pool2d_backward<T>;
  k.max_unpool2d_forward = max_unpool2d_forward<T>;
  k.max_unpool2d_backward = max_unpool2d_backward<T>;
}

}  // namespace

void JADRO_TIER::set_pool2d(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
