// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// A number is a function of seed and position alone, so any thread or device can draw it. Shared by C++ and CUDA.
#pragma once

#include "core/shapes.h"

#if defined(__CUDACC__)
#define JADRO_DEVICE __host__ __device__
#define JADRO_UNROLL _Pragma("unroll")
#else
#define JADRO_DEVICE
#define JADRO_UNROLL _Pragma("GCC unroll 10")  // or a loop over blocks is not vectorised
#endif

namespace jadro {
namespace {

struct PhiloxBlock {
  u32 word[4];
};

// Block `index` of the stream: counter (index lo, index hi, 0, 0), key (seed lo, seed hi).
JADRO_DEVICE inline PhiloxBlock philox(u64 seed, u64 index) {
  u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
  u32 c0 = static_cast<u32>(index), c1 = static_cast<u32>(index >> 32), c2 = 0, c3 = 0;
  JADRO_UNROLL
  for (int round = 0; round < 10; ++round) {
    const u64 p0 = u64{0xD2511F53} * c0, p1 = u64{0xCD9E8D57} * c2;
    c0 = static_cast<u32>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<u32>(p1);
    c2 = static_cast<u32>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<u32>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform numbers in [0, 1): number j is made of word j (float), or of words 2j (low) and 2j + 1 (high, double).
JADRO_DEVICE inline float philox_float(u32 word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
JADRO_DEVICE inline double philox_double(u32 low, u32 high) {
  return static_cast<double>((u64{high} << 32 | low) >> 11) * 0x1p-53;
}

// Dropout keeps an element where the float of its word is at least p, whatever the dtype: word >> 8 >=
// philox_threshold(p).
JADRO_DEVICE inline u32 philox_threshold(float p) {
  const float scaled = p * 0x1p24f;
  const u32 whole = static_cast<u32>(scaled);
  return whole + (static_cast<float>(whole) < scaled);
}

}  // namespace
}  // namespace jadro
