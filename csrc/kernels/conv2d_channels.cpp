#include "kernels/conv2d_channels.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.conv2d_by_channels = conv2d_by_channels<T>;
  k.conv2d_channels = conv2d_channels<T>;
  k.conv2d_channels_weight = conv2d_channels_weight<T>;
}

}  // namespace

void JADRO_TIER::set_conv2d_channels(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
