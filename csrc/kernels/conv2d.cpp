#include "kernels/conv2d.h"

#include "kernels/conv2d_dilated.h"
#include "kernels/conv2d_thinned.h"
#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.conv2d_scratch = conv2d_scratch<T>;
  k.conv2d_pack = conv2d_pack<T>;
  k.conv2d_block = conv2d_block<T>;
  k.conv2d_weight_scratch = conv2d_weight_scratch<T>;
  k.conv2d_weight_block = conv2d_weight_block<T>;
  k.take_cells = take_cells<T>;
  k.spread_cells = spread_cells<T>;
  k.split_phases = split_phases<T>;
  k.join_phases = join_phases<T>;
  k.sum = sum<T>;
}

}  // namespace

void JADRO_TIER::set_conv2d(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
