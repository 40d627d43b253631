// Vectors of the widest size that the instruction set has, on the compiler's vector extensions: arithmetic and
// comparison are the language's own operators, `mask ? a : b` selects lane by lane. Every file that includes this is
// compiled once per instruction set, so everything here has internal linkage.
#pragma once

#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/shapes.h"

namespace jadro {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VecTraits;
template <>
struct VecTraits<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t Int __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecTraits<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t Int __attribute__((vector_size(kVectorBytes)));
};

typedef u64 Words __attribute__((vector_size(kVectorBytes)));

template <class T>
using Vec = typename VecTraits<T>::Type;
template <class T>
using VecInt = typename VecTraits<T>::Int;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

#define JADRO_INLINE inline __attribute__((always_inline))

template <class T>
JADRO_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
JADRO_INLINE void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
JADRO_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};
}
// LaneMask<T>: which lanes of a vector to load. lanes_between(begin, end) are lanes [begin, end); the others become
// zero and are not read.
#if defined(__AVX512F__)
template <class T>
using LaneMask = u32;
JADRO_INLINE u32 lanes_below(i64 end) { return _bzhi_u32(0xFFFF, static_cast<u32>(end < 0 ? 0 : end > 16 ? 16 : end)); }
template <class T>
JADRO_INLINE u32 lanes_between(i64 begin, i64 end) {
  return lanes_below(end) & ~lanes_below(begin);
}
JADRO_INLINE Vec<float> load_lanes(const float* p, u32 mask) {
  return (Vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p);
}
JADRO_INLINE Vec<double> load_lanes(const double* p, u32 mask) {
  return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p);
}
JADRO_INLINE void store_lanes(float* p, Vec<float> v, u32 mask) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), (__m512)v);
}
JADRO_INLINE void store_lanes(double* p, Vec<double> v, u32 mask) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), (__m512d)v);
}
template <class T>
JADRO_INLINE void store_part(T* p, Vec<T> v, i64 count) {
  store_lanes(p, v, (1u << count) - 1);
}
#else
#if defined(__AVX2__)
template <class T>
using LaneMask = VecInt<T>;
template <class T>
JADRO_INLINE VecInt<T> lanes_between(i64 begin, i64 end) {
  constexpr i64 kN = kLanes<T>;
  VecInt<T> lane;
  for (int i = 0; i < kN; ++i) lane[i] = i;
  const int low = static_cast<int>(begin < 0 ? 0 : begin > kN ? kN : begin);
  const int high = static_cast<int>(end < 0 ? 0 : end > kN ? kN : end);
  return (lane >= low) & (lane < high);
}
JADRO_INLINE Vec<float> load_lanes(const float* p, VecInt<float> mask) {
  return (Vec<float>)_mm256_maskload_ps(p, (__m256i)mask);
}
JADRO_INLINE Vec<double> load_lanes(const double* p, VecInt<double> mask) {
  return (Vec<double>)_mm256_maskload_pd(p, (__m256i)mask);
}
#else
template <class T>
using LaneMask = Range;
template <class T>
JADRO_INLINE Range lanes_between(i64 begin, i64 end) {
  return {begin < 0 ? 0 : begin, end > kLanes<T> ? kLanes<T> : end};
}
template <class T>
JADRO_INLINE Vec<T> load_lanes(const T* p, Range mask) {
  if (mask.begin == 0 && mask.end == kLanes<T>) return load(p);
  Vec<T> v{};
  for (i64 i = mask.begin; i < mask.end; ++i) v[i] = p[i];
  return v;
}
#endif
// By halves: count is a sum of powers of two.
template <class T, int kHalf = kLanes<T> / 2>
JADRO_INLINE void store_part(T* p, Vec<T> v, i64 count) {
  if constexpr (kHalf > 0) {
    if (count & kHalf) {
      std::memcpy(p, &v, kHalf * sizeof(T));
      VecInt<T> rest;
      for (int i = 0; i < kLanes<T>; ++i) rest[i] = (i + kHalf) % kLanes<T>;
      v = __builtin_shuffle(v, rest);
      p += kHalf;
    }
    store_part<T, kHalf / 2>(p, v, count);
  }
}
#endif
// The first `count` < kLanes lanes from memory, zero above.
template <class T>
JADRO_INLINE Vec<T> load_part(const T* p, i64 count) {
  return load_lanes(p, lanes_between<T>(0, count));
}
// f over all lanes, by halves: the compiler must see each shuffle as a constant.
template <class T, int kHalf = kLanes<T> / 2, class V, class F>
JADRO_INLINE auto reduce_lanes(V v, F f) {
  if constexpr (kHalf == 0) {
    return v[0];
  } else {
    VecInt<T> other;
    for (int i = 0; i < kLanes<T>; ++i) other[i] = (i + kHalf) % kLanes<T>;
    return reduce_lanes<T, kHalf / 2>(f(v, __builtin_shuffle(v, other)), f);
  }
}
template <class T>
JADRO_INLINE T sum_lanes(Vec<T> v) {
  return reduce_lanes<T>(v, [](Vec<T> a, Vec<T> b) { return a + b; });
}
// Lane i becomes the sum over the lanes of v[i]; each sum is taken in the same order. On the way v[k] has the sums of
// kStep vectors, one in each lane of a period.
template <class T, int kStep = 1>
JADRO_INLINE Vec<T> sum_each(Vec<T>* v) {
  constexpr int kN = kLanes<T>;
  if constexpr (kStep == kN) {
    return v[0];
  } else {
    VecInt<T> near, far;
    for (int i = 0; i < kN; ++i) {
      near[i] = (i / kStep % 2) * kN + i / (2 * kStep) * (2 * kStep) + i % kStep;
      far[i] = near[i] + kStep;
    }
#pragma GCC unroll 8
    for (int k = 0; k < kN / 2 / kStep; ++k) {
      const Vec<T> a = v[2 * k], b = v[2 * k + 1];
      v[k] = __builtin_shuffle(a, b, near) + __builtin_shuffle(a, b, far);
    }
    return sum_each<T, kStep * 2>(v);
  }
}
// a > b ? a : b, so b where one of them is NaN. One instruction, also beside a use of a > b, where the compiler makes
// it two.
template <class T>
JADRO_INLINE Vec<T> maximum(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_max_ps(0xFFFF, (__m512)a, (__m512)b);
  if constexpr (sizeof(T) == 8) return (Vec<T>)_mm512_maskz_max_pd(0xFF, (__m512d)a, (__m512d)b);
#else
  return a > b ? a : b;
#endif
}
template <class T>
JADRO_INLINE T max_lanes(Vec<T> v) {
  return reduce_lanes<T>(v, [](Vec<T> a, Vec<T> b) { return maximum<T>(a, b); });
}
template <class T>
JADRO_INLINE Vec<T> vsqrt(Vec<T> v) {
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(__builtin_sqrt(v[i]));
  return v;
}
// Whether a mask is true in any lane.
template <class T>
JADRO_INLINE bool any_lane(VecInt<T> mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_epi8((__m128i)mask) != 0;
#else
  std::int64_t any = 0;
  for (int i = 0; i < kLanes<T>; ++i) any |= mask[i];
  return any != 0;
#endif
}
// 0, 1, 2, ...
template <class T>
JADRO_INLINE VecInt<T> lane_numbers() {
  VecInt<T> v;
  for (int i = 0; i < kLanes<T>; ++i) v[i] = i;
  return v;
}
// v in the first `count` lanes, x above.
template <class T>
JADRO_INLINE Vec<T> keep_part(Vec<T> v, i64 count, T x) {
  return lane_numbers<T>() < static_cast<int>(count) ? v : broadcast(x);
}

// f(first, count) for the vectors of [0, n): whole ones, then the rest.
template <class T, class F>
JADRO_INLINE void for_vectors(i64 n, F f) {
  i64 i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) f(i, i64{kLanes<T>});
  if (i < n) f(i, n - i);
}
template <class T>
JADRO_INLINE Vec<T> load_n(const T* p, i64 count) {
  return count == kLanes<T> ? load(p) : load_part(p, count);
}
template <class T>
JADRO_INLINE void store_n(T* p, Vec<T> v, i64 count) {
  if (count == kLanes<T>) {
    store(p, v);
  } else {
    store_part(p, v, count);
  }
}

// A store past the caches, for results too large to be found there again; p is aligned to a vector. A fence follows the
// last.
template <class T>
JADRO_INLINE void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)v);
#else
  store(p, v);
#endif
}
JADRO_INLINE void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// y[first ... first + count) = f(first, count) for the vectors of [0, n), past the caches where asked and aligned.
template <class T, class F>
JADRO_INLINE void map_vectors(T* y, i64 n, bool past_caches, F f) {
  i64 i = 0;
  if (past_caches && reinterpret_cast<std::uintptr_t>(y) % kVectorBytes == 0) {
    for (; i + kLanes<T> <= n; i += kLanes<T>) stream(y + i, f(i, i64{kLanes<T>}));
    stream_fence();
  }
  for (; i + kLanes<T> <= n; i += kLanes<T>) store(y + i, f(i, i64{kLanes<T>}));
  if (i < n) store_part(y + i, f(i, n - i), n - i);
}

JADRO_INLINE i64 min(i64 a, i64 b) { return a < b ? a : b; }
JADRO_INLINE i64 max(i64 a, i64 b) { return a > b ? a : b; }
JADRO_INLINE i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
template <class T>
JADRO_INLINE i64 whole_vectors(i64 n) {  // n, rounded up to
  return ceil_div(n, kLanes<T>) * kLanes<T>;
}

// Lanes kPhase, kPhase + kStep, ... of kStep vectors in a row.
template <class T, int kStep, int kPhase>
JADRO_INLINE Vec<T> every(const Vec<T>* v) {
  constexpr int kN = kLanes<T>;
  const VecInt<T> lane = lane_numbers<T>(), at = lane * kStep + kPhase;
  Vec<T> found = __builtin_shuffle(v[0], v[1], at < 2 * kN ? at : lane);
  if constexpr (kStep > 2) found = __builtin_shuffle(found, v[2], (at >= 2 * kN) & (at < 3 * kN) ? at - kN : lane);
  if constexpr (kStep > 3) found = __builtin_shuffle(found, v[3], at >= 3 * kN ? at - 2 * kN : lane);
  return found;
}

// Vector kPart of the lanes of kCount vectors in turn.
template <class T, int kCount, int kPart>
JADRO_INLINE Vec<T> in_turn(const Vec<T>* v) {
  constexpr int kN = kLanes<T>;
  const VecInt<T> lane = lane_numbers<T>(), of = (lane + kPart * kN) % kCount, at = (lane + kPart * kN) / kCount + kN;
  Vec<T> woven = __builtin_shuffle(v[0], v[1], of == 1 ? at : at - kN);
  if constexpr (kCount > 2) woven = __builtin_shuffle(woven, v[2], of == 2 ? at : lane);
  if constexpr (kCount > 3) woven = __builtin_shuffle(woven, v[3], of == 3 ? at : lane);
  return woven;
}

// p[2 i] = v[i] for i < count, with nothing written between.
template <class T>
JADRO_INLINE void store_every_other(T* p, Vec<T> v, i64 count) {
#if defined(__AVX512F__)
  const Vec<T> pair[] = {v, v};
  const u32 places = 0x55555555u & ((u32{2} << (2 * count - 2)) - 1);
  store_lanes(p, in_turn<T, 2, 0>(pair), places & ((1u << kLanes<T>)-1));
  if (count > kLanes<T> / 2) store_lanes(p + kLanes<T>, in_turn<T, 2, 1>(pair), places >> kLanes<T>);
#else
  for (i64 i = 0; i < count; ++i) p[2 * i] = v[i];
#endif
}

// f(k, vector k) of what `every` gives for each phase, and `in_turn` for each part.
template <class T, class F, int... kPhase>
JADRO_INLINE void for_every(const Vec<T>* v, std::integer_sequence<int, kPhase...>, F f) {
  (f(kPhase, every<T, sizeof...(kPhase), kPhase>(v)), ...);
}
template <class T, int kStep, class F>
JADRO_INLINE void for_every(const Vec<T>* v, F f) {
  for_every<T>(v, std::make_integer_sequence<int, kStep>(), f);
}
template <class T, class F, int... kPart>
JADRO_INLINE void for_in_turn(const Vec<T>* v, std::integer_sequence<int, kPart...>, F f) {
  (f(kPart, in_turn<T, sizeof...(kPart), kPart>(v)), ...);
}
template <class T, int kCount, class F>
JADRO_INLINE void for_in_turn(const Vec<T>* v, F f) {
  for_in_turn<T>(v, std::make_integer_sequence<int, kCount>(), f);
}

// The product of the lower halves of 64-bit lanes.
JADRO_INLINE Words multiply_halves(Words a, Words b) {
#if defined(__AVX512F__)
  return (Words)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);  // the plain one warns in GCC 12
#elif defined(__AVX2__)
  return (Words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (Words)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  constexpr u64 kLow = 0xFFFFFFFF;
  return (a & kLow) * (b & kLow);
#endif
}

}  // namespace
}  // namespace jadro
