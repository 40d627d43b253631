#include "kernels/conv2d_rows.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.conv2d_rows = conv2d_rows<T>;
  k.conv2d_rows_weight = conv2d_rows_weight<T>;
}

}  // namespace

void JADRO_TIER::set_conv2d_rows(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
