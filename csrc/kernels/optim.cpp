#include "kernels/optim.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  const auto rule = [&](OptimRule r) -> auto& { return k.optim_step[static_cast<int>(r)]; };
  rule(OptimRule::kSgd) = optim_step<T, SgdRule<T, false>>;
  rule(OptimRule::kSgdMomentum) = optim_step<T, SgdRule<T, true>>;
  rule(OptimRule::kAdagrad) = optim_step<T, AdagradRule<T>>;
  rule(OptimRule::kRmsprop) = optim_step<T, RmspropRule<T, false, false>>;
  rule(OptimRule::kRmspropMomentum) = optim_step<T, RmspropRule<T, false, true>>;
  rule(OptimRule::kRmspropCentered) = optim_step<T, RmspropRule<T, true, false>>;
  rule(OptimRule::kRmspropCenteredMomentum) = optim_step<T, RmspropRule<T, true, true>>;
  rule(OptimRule::kAdam) = optim_step<T, AdamRule<T, false>>;
  rule(OptimRule::kAdamLargest) = optim_step<T, AdamRule<T, true>>;
  k.grad_norm = grad_norm<T>;
  k.grad_clip = grad_clip<T>;
}

}  // namespace

void JADRO_TIER::set_optim(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
