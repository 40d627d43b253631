#include "kernels/gemm.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.tile_rows = kMr;
  k.tile_columns = kNr<T>;
  k.pass_depth = kKc;
  k.lanes = kLanes<T>;
  k.pack_b = pack_b_panels<T>;
  k.gemm_scratch = gemm_scratch<T>;
  k.gemm_block = gemm_block<T>;
  k.thin_rows = kThinRows;
  k.dot_rows = kDotRows;
  k.thin_terms = kThinTerms;
  k.gemm_thin = gemm_thin<T>;
  k.sum_rows = sum_rows<T>;
}

}  // namespace

void JADRO_TIER::set_gemm(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
