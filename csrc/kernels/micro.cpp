#include "kernels/micro.h"

#include <utility>

namespace jadro {
namespace {

template <class T, int MR, int NV, bool kGather>
void micro(i64 k, const T* __restrict a, const T* __restrict b, const i64* __restrict offsets, T* __restrict tile) {
  Vec<T> acc[MR][NV] = {};
  for (i64 p = 0; p < k; ++p) {
    const T* source = kGather ? b + offsets[p] : b + p * kNr<T>;
    Vec<T> row[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) row[v] = load(source + v * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] += a[r] * row[v];
    }
    a += MR;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(tile + r * kNr<T> + v * kLanes<T>, acc[r][v]);
  }
}

template <class T, int... kRow>
constexpr JADRO_TIER::MicroTable<T> make_table(std::integer_sequence<int, kRow...>) {
  return {{{{micro<T, kRow + 1, 1, false>...}, {micro<T, kRow + 1, kNv, false>...}},
           {{micro<T, kRow + 1, 1, true>...}, {micro<T, kRow + 1, kNv, true>...}}}};
}

}  // namespace

const JADRO_TIER::MicroTable<float> JADRO_TIER::micro_f32 = make_table<float>(std::make_integer_sequence<int, kMr>());
const JADRO_TIER::MicroTable<double> JADRO_TIER::micro_f64 = make_table<double>(std::make_integer_sequence<int, kMr>());

}  // namespace jadro
