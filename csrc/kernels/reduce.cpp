#include "kernels/reduce.h"

#include "kernels/tier.h"

namespace jadro {

// float64 is left to NumPy.
void JADRO_TIER::set_reduce(KernelTable& table) {
  table.f32.reduce_rows = reduce_rows<float>;
  table.f32.reduce_columns = reduce_columns<float>;
  table.f32.find_in_rows = find_in_rows<float>;
}

}  // namespace jadro
