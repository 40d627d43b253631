#include "kernels/batch_norm.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.batch_norm_moments = batch_norm_moments<T>;
  k.batch_norm_apply = batch_norm_apply<T>;
  k.batch_norm_sums = batch_norm_sums<T>;
  k.batch_norm_gradient = batch_norm_gradient<T>;
}

}  // namespace

void JADRO_TIER::set_batch_norm(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
