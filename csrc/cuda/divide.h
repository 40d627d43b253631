// Division of numbers below 2^31 by one that a launch fixes: a product and a shift (Granlund and Montgomery 1994).
#pragma once

#include "cuda/launch.h"

namespace jadro::cuda {

struct Divider {
  u32 divisor = 1, factor = 1, shift = 0;

  Divider() = default;
  explicit Divider(i64 by) : divisor(static_cast<u32>(by)) {
    while ((u64{1} << shift) < divisor) ++shift;
    factor = static_cast<u32>((u64{1} << 32) * ((u64{1} << shift) - divisor) / divisor + 1);
  }
  JADRO_DEVICE u32 divide(u32 n) const { return static_cast<u32>(((static_cast<u64>(n) * factor >> 32) + n) >> shift); }
};

}  // namespace jadro::cuda
