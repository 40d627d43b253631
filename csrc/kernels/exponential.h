// exp, tanh and the logistic function on vectors.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// x = n ln2 + r, |r| <= ln2 / 2; exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), exp(r) - 1 by its Taylor series, whose
// first left-out term is below half a unit in the last place. Comparisons are written so that NaN passes through.
template <class T>
struct ExpTraits;
template <>
struct ExpTraits<float> {
  static constexpr float kMax = 89.0f, kMin = -104.0f, kTanhMax = 9.5f;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and taking it away rounds to an integer
  static constexpr float kLn2Hi = 0.693359375f, kLn2Lo = -2.12194440e-4f;
  static constexpr float kSigmoidMax = 87.0f;  // exp(-x) is a normal number
  typedef u32 Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr u32 kOneBits = 0x3F800000;
  static constexpr int kTerms = 7, kMantissa = 23;
};
template <>
struct ExpTraits<double> {
  static constexpr double kMax = 710.0, kMin = -746.0, kTanhMax = 20.0;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2Hi = 6.93145751953125e-1, kLn2Lo = 1.42860682030941723212e-6;
  static constexpr double kSigmoidMax = 708.0;
  using Bits = Words;
  static constexpr u64 kOneBits = 0x3FF0000000000000;
  static constexpr int kTerms = 13, kMantissa = 52;
};

// min(x, most) and max(x, least); NaN stays NaN. GCC makes a comparison and a choice of the plain form.
#if defined(__AVX512F__)
constexpr __mmask16 kAllLanes = 0xFFFF;  // the functions without a mask warn in GCC 12
JADRO_INLINE Vec<float> at_most(Vec<float> x, float most) {
  return (Vec<float>)_mm512_maskz_min_ps(kAllLanes, (__m512)broadcast(most), (__m512)x);
}
JADRO_INLINE Vec<double> at_most(Vec<double> x, double most) {
  return (Vec<double>)_mm512_maskz_min_pd(static_cast<__mmask8>(kAllLanes), (__m512d)broadcast(most), (__m512d)x);
}
JADRO_INLINE Vec<float> at_least(Vec<float> x, float least) {
  return (Vec<float>)_mm512_maskz_max_ps(kAllLanes, (__m512)broadcast(least), (__m512)x);
}
JADRO_INLINE Vec<double> at_least(Vec<double> x, double least) {
  return (Vec<double>)_mm512_maskz_max_pd(static_cast<__mmask8>(kAllLanes), (__m512d)broadcast(least), (__m512d)x);
}
#elif defined(__AVX2__)
JADRO_INLINE Vec<float> at_most(Vec<float> x, float most) {
  return (Vec<float>)_mm256_min_ps((__m256)broadcast(most), (__m256)x);
}
JADRO_INLINE Vec<double> at_most(Vec<double> x, double most) {
  return (Vec<double>)_mm256_min_pd((__m256d)broadcast(most), (__m256d)x);
}
JADRO_INLINE Vec<float> at_least(Vec<float> x, float least) {
  return (Vec<float>)_mm256_max_ps((__m256)broadcast(least), (__m256)x);
}
JADRO_INLINE Vec<double> at_least(Vec<double> x, double least) {
  return (Vec<double>)_mm256_max_pd((__m256d)broadcast(least), (__m256d)x);
}
#else
template <class V, class T>
JADRO_INLINE V at_most(V x, T most) {
  return x > most ? broadcast(most) : x;
}
template <class V, class T>
JADRO_INLINE V at_least(V x, T least) {
  return x < least ? broadcast(least) : x;
}
#endif

// 2^n, a normal number or, one beyond them, infinity, from kRound + n, whose last bits are n.
template <class T>
JADRO_INLINE Vec<T> two_to(Vec<T> rounded) {
  using E = ExpTraits<T>;
  typename E::Bits bits;  // of NaN they may overflow
  std::memcpy(&bits, &rounded, sizeof bits);
  bits = (bits << E::kMantissa) + E::kOneBits;
  std::memcpy(&rounded, &bits, sizeof bits);
  return rounded;
}
// v 2^n from kRound + n, for n beyond the exponents of normal numbers too.
template <class T>
JADRO_INLINE Vec<T> scaled(Vec<T> v, Vec<T> rounded) {
  const Vec<T> n = rounded - ExpTraits<T>::kRound;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_scalef_ps(kAllLanes, (__m512)v, (__m512)n);
  if constexpr (sizeof(T) == 8) return (Vec<T>)_mm512_maskz_scalef_pd(0xFF, (__m512d)v, (__m512d)n);
#else
  const Vec<T> half = n * T(0.5) + ExpTraits<T>::kRound;  // 2^n in two factors
  return v * two_to<T>(half) * two_to<T>(rounded - half + ExpTraits<T>::kRound);
#endif
}

template <class T>
JADRO_INLINE Vec<T> clamp_to(Vec<T> x, T most) {
  return at_least(at_most(x, most), -most);
}

// q[k] = exp(r) - 1 and rounded[k] = kRound + n for x[k] = n ln2 + r. One is a chain of operations that wait for each
// other; N side by side fill the time.
template <class T, int N>
JADRO_INLINE void reduced_expm1(const Vec<T>* x, Vec<T>* q, Vec<T>* rounded) {
  using E = ExpTraits<T>;
  constexpr double kInverseFactorial[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  Vec<T> r[N], p[N];
#pragma GCC unroll 4
  for (int k = 0; k < N; ++k) {
    rounded[k] = x[k] * T(1.44269504088896340736) + E::kRound;
    const Vec<T> n = rounded[k] - E::kRound;
    r[k] = (x[k] - n * E::kLn2Hi) - n * E::kLn2Lo;
    p[k] = broadcast(T(kInverseFactorial[E::kTerms]));
  }
#pragma GCC unroll 16
  for (int i = E::kTerms - 1; i >= 2; --i) {
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k) p[k] = p[k] * r[k] + T(kInverseFactorial[i]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < N; ++k) q[k] = r[k] + r[k] * (r[k] * p[k]);
}

template <class T>
JADRO_INLINE Vec<T> vexp(Vec<T> x) {
  using E = ExpTraits<T>;
  x = at_least(at_most(x, E::kMax), E::kMin);
  Vec<T> q, rounded;
  reduced_expm1<T, 1>(&x, &q, &rounded);
  return scaled<T>(q + T(1), rounded);
}

// exp(x) - 1 where exp(x) is a normal number.
template <class T>
JADRO_INLINE Vec<T> vexpm1(Vec<T> x) {
  Vec<T> q, rounded;
  reduced_expm1<T, 1>(&x, &q, &rounded);
  const Vec<T> scale = two_to<T>(rounded);
  return scale * q + (scale - T(1));
}

// v[k] = tanh(v[k]) = e / (e + 2), e = exp(2 v[k]) - 1, for k = kTanh, else 1 / (1 + exp(-v[k])), 0 where that is below
// the normal numbers.
template <class T, int N, int kTanh>
JADRO_INLINE void squash(Vec<T>* v) {
  using E = ExpTraits<T>;
  Vec<T> q[N], rounded[N];
#pragma GCC unroll 4
  for (int k = 0; k < N; ++k) {
    if (k == kTanh) {
      v[k] = clamp_to<T>(v[k], E::kTanhMax);
      v[k] += v[k];
    } else {
      v[k] = -at_least(at_most(v[k], E::kSigmoidMax), -E::kMax);
    }
  }
  reduced_expm1<T, N>(v, q, rounded);
#pragma GCC unroll 4
  for (int k = 0; k < N; ++k) {
    const Vec<T> scale = two_to<T>(rounded[k]);
    if (k == kTanh) {
      const Vec<T> e = scale * q[k] + (scale - T(1));
      v[k] = e / (e + T(2));
    } else {
      v[k] = T(1) / (T(1) + (q[k] + T(1)) * scale);
    }
  }
}
template <class T>
JADRO_INLINE Vec<T> vsigmoid(Vec<T> x) {
  squash<T, 1, -1>(&x);
  return x;
}
template <class T>
JADRO_INLINE Vec<T> vtanh(Vec<T> x) {
  squash<T, 1, 0>(&x);
  return x;
}

}  // namespace
}  // namespace jadro
