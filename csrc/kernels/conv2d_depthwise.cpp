#include "kernels/conv2d_depthwise.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.conv2d_depthwise_scratch = conv2d_depthwise_scratch<T>;
  k.conv2d_depthwise = conv2d_depthwise<T>;
  k.conv2d_depthwise_weight = conv2d_depthwise_weight<T>;
}

}  // namespace

void JADRO_TIER::set_conv2d_depthwise(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
