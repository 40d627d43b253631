#include "kernels/reduce.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.reduce_rows = reduce_rows<T>;
  k.reduce_columns = reduce_columns<T>;
  k.find_in_rows = find_in_rows<T>;
}

}  // namespace

void JADRO_TIER::set_reduce(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
