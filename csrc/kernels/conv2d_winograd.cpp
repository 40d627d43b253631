#include "kernels/conv2d_winograd.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <template <class> class F, class T>
WinogradKernels<T> winograd_kernels() {
  WinogradKernels<T> k{};
  k.scratch = [](const Winograd& s, i64 tiles) { return WinogradScratch<F, T>(s, tiles).total(); };
  k.rows = WinogradSizes<F, T>::rows();
  k.pack = winograd_pack<F, T>;
  k.block = winograd_block<F, T>;
  k.weight_transform = winograd_weight_transform<F, T>;
  k.weight_multiply = winograd_weight_multiply<F, T>;
  k.weight_results = winograd_weight_results<F, T>;
  return k;
}

template <class T>
void set(Kernels<T>& k) {
  k.winograd23 = winograd_kernels<Winograd23, T>();
  k.winograd43 = winograd_kernels<Winograd43, T>();
  k.winograd25 = winograd_kernels<Winograd25, T>();
  k.winograd42 = winograd_kernels<Winograd42, T>();
}

}  // namespace

void JADRO_TIER::set_conv2d_winograd(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
