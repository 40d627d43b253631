// Uniform random numbers and dropout, both read from the stream of core/philox.h by position.
#pragma once

#include "core/philox.h"
#include "kernels/simd.h"

namespace jadro {
namespace {

constexpr int kPhiloxWords = 64;  // made at a time

// words[kPhiloxWords] from block `first` on, a block in each 64-bit lane.
JADRO_INLINE void philox_words(u64 seed, u64 first, u32* words) {
  constexpr int kBlocks = kVectorBytes / 8;
  constexpr u64 kLow = 0xFFFFFFFF;
  Words lanes, low, high;
  for (int i = 0; i < kBlocks; ++i) {
    lanes[i] = i;
    low[i] = i / 2 + i % 2 * kBlocks;  // of two vectors, taken in turn
    high[i] = low[i] + kBlocks / 2;
  }
  for (int block = 0; block < kPhiloxWords / 4; block += kBlocks) {
    const Words index = lanes + (first + block);
    Words c[4] = {index, index >> 32, Words{}, Words{}};
    philox_rounds(c, seed, [](Words a, Words b) { return multiply_halves(a, b); });
    const Words left = (c[0] & kLow) | c[1] << 32, right = (c[2] & kLow) | c[3] << 32;
    const Words pieces[2] = {__builtin_shuffle(left, right, low), __builtin_shuffle(left, right, high)};
    std::memcpy(words + 4 * block, pieces, sizeof pieces);
  }
}

// f(first, words, count) for pieces of words [begin, end) of the stream: words[i] is word begin + first + i.
template <class F>
JADRO_INLINE void for_philox_words(u64 seed, u64 begin, u64 end, F f) {
  u32 words[kPhiloxWords];
  for (u64 start = begin / kPhiloxWords * kPhiloxWords; start < end; start += kPhiloxWords) {
    philox_words(seed, start / 4, words);
    const u64 low = start < begin ? begin : start, high = end - start < kPhiloxWords ? end : start + kPhiloxWords;
    f(static_cast<i64>(low - begin), words + (low - start), static_cast<i64>(high - low));
  }
}

// out[n] = numbers offset ... offset + n - 1 of the stream.
template <class T>
void random_uniform(T* out, i64 n, u64 seed, u64 offset) {
  constexpr u64 kWordsEach = sizeof(T) / sizeof(u32);
  const u64 begin = offset * kWordsEach, end = begin + static_cast<u64>(n) * kWordsEach;
  for_philox_words(seed, begin, end, [&](i64 first, const u32* words, i64 count) {
    if constexpr (kWordsEach == 1) {
      for (i64 i = 0; i < count; ++i) out[first + i] = philox_float(words[i]);
    } else {
      for (i64 i = 0; i < count; i += 2) out[(first + i) / 2] = philox_double(words[i], words[i + 1]);
    }
  });
}

// y[n] = x / keep where the stream's word is at or above the threshold, x * 0 elsewhere. y may be x.
template <class T>
void dropout(const T* x, T* y, i64 n, u32 threshold, T keep, u64 seed, u64 offset) {
  for_philox_words(seed, offset, offset + static_cast<u64>(n), [&](i64 first, const u32* words, i64 count) {
    T mask[kPhiloxWords];
    for (i64 i = 0; i < count; ++i) mask[i] = words[i] >> 8 >= threshold ? T(1) : T(0);
    for_vectors<T>(count, [&](i64 i, i64 part) {
      store_n(y + first + i, load_n(x + first + i, part) * load_n(mask + i, part) / keep, part);
    });
  });
}

}  // namespace
}  // namespace jadro
