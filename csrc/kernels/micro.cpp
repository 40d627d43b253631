#include "kernels/micro.h"

#include <utility>

namespace jadro {
namespace {

// The tile that stands `at` elements behind the first.
template <class T, int MR, int NV, class Put>
JADRO_INLINE void finish(TileEnd<T> end, i64 at, const Vec<T> (&acc)[MR][NV], Put put) {
  end.dst += at, end.add += end.add ? at : 0;
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
    const T scale = *end.scale, bias = *end.bias;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      Vec<T> sum = acc[r][v] * scale + bias;
      if (end.add) sum += load(end.add + v * kLanes<T>);
      put(end.dst + v * kLanes<T>, end.least > sum ? broadcast(end.least) : sum);
    }
    end.dst += end.pitch, end.add += end.add ? end.add_pitch : 0;
    end.scale += end.scale_step, end.bias += end.bias_step;
  }
}

template <class T, int MR, int NV, Operands kOperands>
void micro(i64 k, const T* __restrict first_a, i64 a_step, const T* __restrict first_b, const i64* __restrict offsets,
           T* __restrict tile, const TileEnd<T>* end) {
  constexpr bool kGatheredB = kOperands == Operands::kGatheredB, kPast = kOperands == Operands::kPlain || kGatheredB;
  constexpr bool kEnds = NV == kNv && (kPast || kOperands == Operands::kBlockedA);
  constexpr bool kFar = kOperands == Operands::kBlockedAFarB;
  constexpr bool kBlocked = kOperands == Operands::kBlockedA || kOperands == Operands::kBlockedAFarB;
  constexpr i64 kRow = kBlocked ? kLanes<T> : 1, kAhead = 48 * kNr<T>;
  for (i64 t = 0;;) {
    const T *a = first_a, *b = first_b;
    i64 at = t * kNr<T>;
    if (kEnds && t > 0) b += kGatheredB ? end->bases[t * end->step] - end->bases[0] : k * at;
    if (kGatheredB && t > 0) at = end->places[t * end->step] - end->places[0];
    Vec<T> acc[MR][NV] = {};
    for (i64 block = 0; block < k; block += kBlocked ? kLanes<T> : k) {
      const i64 last = kBlocked ? min(k, block + kLanes<T>) : k;
#pragma GCC unroll 2
      for (i64 p = block; p < last; ++p) {
        const T* const source = kGatheredB ? b + offsets[p] : b + p * kNr<T>;
        const T* const column = kOperands == Operands::kGatheredA ? a + offsets[p] : a;
        Vec<T> row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
          row[v] = load(source + v * kLanes<T>);
          if (kFar) __builtin_prefetch(source + kAhead + v * kLanes<T>);
        }
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) acc[r][v] += column[r * kRow] * row[v];
        }
        a += kOperands == Operands::kGatheredA ? 0 : kBlocked ? 1 : a_step;
      }
      if (kBlocked) a += (MR - 1) * kLanes<T>;
    }
    if (kEnds && end) {
      const bool past = kPast && end->past_caches;
      finish(*end, at, acc, [past](T* p, Vec<T> v) { past ? stream(p, v) : store(p, v); });
      if (++t < end->tiles) continue;
      return;
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(tile + r * kNr<T> + v * kLanes<T>, acc[r][v]);
    }
    return;
  }
}

template <class T, int NV, Operands kOperands, int... kRow>
constexpr void fill_table(Micro<T>* rows, std::integer_sequence<int, kRow...>) {
  ((rows[kRow] = micro<T, kRow + 1, NV, kOperands>), ...);
}
template <class T, Operands kOperands>
constexpr void fill_table(JADRO_TIER::MicroTable<T>& table) {
  auto& rows = table.of[static_cast<int>(kOperands)];
  fill_table<T, 1, kOperands>(rows[0], std::make_integer_sequence<int, kMr>());
  fill_table<T, kNv, kOperands>(rows[1], std::make_integer_sequence<int, kMr>());
}
template <class T>
constexpr JADRO_TIER::MicroTable<T> make_table() {
  JADRO_TIER::MicroTable<T> table{};
  fill_table<T, Operands::kPlain>(table);
  fill_table<T, Operands::kGatheredA>(table);
  fill_table<T, Operands::kGatheredB>(table);
  fill_table<T, Operands::kBlockedA>(table);
  fill_table<T, Operands::kBlockedAFarB>(table);
  return table;
}

}  // namespace

const JADRO_TIER::MicroTable<float> JADRO_TIER::micro_f32 = make_table<float>();
const JADRO_TIER::MicroTable<double> JADRO_TIER::micro_f64 = make_table<double>();

}  // namespace jadro
