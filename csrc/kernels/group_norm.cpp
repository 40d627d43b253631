#include "kernels/group_norm.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.group_norm_rows_forward = group_norm_rows_forward<T>;
  k.group_norm_rows_backward = group_norm_rows_backward<T>;
}

}  // namespace

void JADRO_TIER::set_group_norm(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
