// The microkernel's tile, and the table of its instances: micro.cpp compiles them once for every file that calls them.
#pragma once

#include "kernels/simd.h"

namespace jadro {

// tile[rows][kNr] = A B. Column p of A stands at a + p * a_step, its rows side by side; or, gathered, at a +
// offsets[p]; or, blocked, A stands in blocks [kLanes of k][rows][kLanes]. Row p of B stands at b + p * kNr; or,
// gathered, at b + offsets[p]. B that is far comes from beyond the second-level cache and is asked for ahead.
// With an end, which tiles of all vectors take of plain operands, gathered B and blocked A, it goes to where its
// results belong; so do those after it, side by side, their B behind; or, gathered, where bases and places say.
template <class T>
struct TileEnd {  // dst[r * pitch + column] = max(least, sum scale[r] + bias[r] + add[r * add_pitch + column])
  T* dst;
  i64 pitch;
  const T* add;  // or null
  i64 add_pitch;
  const T *scale, *bias;
  i64 scale_step, bias_step;  // 1, or 0 for the same in all rows
  T least;
  bool past_caches = false;
  i64 tiles = 1;
  const i64 *bases = nullptr, *places = nullptr;  // of each tile's gathered B, and in dst
  i64 step = 0;                                   // from one tile's to the next's
};
template <class T>
using Micro = void (*)(i64 k, const T* a, i64 a_step, const T* b, const i64* offsets, T* tile, const TileEnd<T>* end);

enum class Operands : int { kPlain, kGatheredA, kGatheredB, kBlockedA, kBlockedAFarB };

namespace {

// The tile of the microkernel, kMr rows by kNv vectors, by counting registers: accumulators + one row of B + a
// broadcast of A.
#if defined(__AVX512F__)
constexpr int kMr = 14, kNv = 2;  // 28 + 2 + 1 of 32
#elif defined(__AVX2__)
constexpr int kMr = 6, kNv = 2;  // 12 + 2 + 1 of 16
#elif defined(__aarch64__)
constexpr int kMr = 12, kNv = 2;  // 24 + 2 + 1 of 32
#else
constexpr int kMr = 4, kNv = 2;  // 8 + 2 + 1 of 16
#endif
template <class T>
constexpr int kNr = kNv * kLanes<T>;

constexpr i64 kFarBytes = i64{4} << 20;  // operands larger than this are far from the core
constexpr i64 kKc = 512;                 // depth of one pass: a panel of A (kMr x kKc) and one of B stay near the core

}  // namespace

namespace JADRO_TIER {

template <class T>
struct MicroTable {
  Micro<T> of[5][2][kMr];  // [operands][more than one vector of columns][rows - 1]
};
extern const MicroTable<float> micro_f32;
extern const MicroTable<double> micro_f64;

}  // namespace JADRO_TIER

namespace {

JADRO_INLINE const JADRO_TIER::MicroTable<float>& micro_table(float) { return JADRO_TIER::micro_f32; }
JADRO_INLINE const JADRO_TIER::MicroTable<double>& micro_table(double) { return JADRO_TIER::micro_f64; }

// The microkernel for a panel of `rows` rows of A and `columns` columns of B.
template <class T>
JADRO_INLINE Micro<T> micro_for(i64 rows, i64 columns, Operands operands = Operands::kPlain) {
  return micro_table(T()).of[static_cast<int>(operands)][columns > kLanes<T>][rows - 1];
}

}  // namespace
}  // namespace jadro
