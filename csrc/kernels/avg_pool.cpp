#include "kernels/avg_pool.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.avg_pool_work = avg_pool_work<T>;
  k.avg_pool_forward = avg_pool_forward<T>;
  k.avg_pool_backward = avg_pool_backward<T>;
}

}  // namespace

void JADRO_TIER::set_avg_pool(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
