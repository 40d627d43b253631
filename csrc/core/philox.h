// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// A number is a function of seed and position alone, so any thread or device can draw it. Shared by C++ and CUDA.
#pragma once

#include "core/shapes.h"

namespace jadro {
namespace {

// The ten rounds on the counter c, with the halves of the seed as key. A word lies in the lower half of a u64, or of
// each lane of a vector of them, and anything above it; multiply(a, b) is the product of the lower halves.
template <class Word, class Multiply>
JADRO_DEVICE inline void philox_rounds(Word* c, u64 seed, Multiply multiply) {
  Word k0 = Word{} + seed, k1 = Word{} + (seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Word p0 = multiply(c[0], Word{} + u64{0xD2511F53}), p1 = multiply(c[2], Word{} + u64{0xCD9E8D57});
    c[0] = (p1 >> 32) ^ c[1] ^ k0;
    c[1] = p1;
    c[2] = (p0 >> 32) ^ c[3] ^ k1;
    c[3] = p0;
    k0 += u64{0x9E3779B9};
    k1 += u64{0xBB67AE85};
  }
}

struct MultiplyHalves {
  JADRO_DEVICE u64 operator()(u64 a, u64 b) const { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
};

struct PhiloxBlock {
  u32 word[4];
};

// Block `index` of the stream: counter (index lo, index hi, 0, 0).
JADRO_DEVICE inline PhiloxBlock philox(u64 seed, u64 index) {
  u64 c[4] = {index, index >> 32, 0, 0};
  philox_rounds(c, seed, MultiplyHalves{});
  return {{static_cast<u32>(c[0]), static_cast<u32>(c[1]), static_cast<u32>(c[2]), static_cast<u32>(c[3])}};
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
