#include "kernels/dropout.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.random_uniform = random_uniform<T>;
  k.dropout = dropout<T>;
}

}  // namespace

void JADRO_TIER::set_dropout(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
