#include "kernels/arithmetic.h"

#include "kernels/tier.h"

namespace jadro {

// float64 is left to NumPy.
void JADRO_TIER::set_arithmetic(KernelTable& table) {
  table.f32.arithmetic = arithmetic<float>;
  table.f32.select = select<float>;
}

}  // namespace jadro
