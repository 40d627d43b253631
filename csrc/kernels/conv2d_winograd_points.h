// Winograd's minimal filtering in one dimension, F(m, r): m results of a filter of r taps from m + r - 1 products
// (Winograd 1980, Lavin and Gray 2016). With g the filter and d the source, y = A^T [(G g) * (B^T d)]; two dimensions
// apply it to rows and columns. The gradient of the filter is the adjoint: dg = G^T [(A dy) * (B^T d)].
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// F(2, 3): points 0, 1, -1 and infinity.
template <class T>
struct Winograd23 {
  using V = Vec<T>;
  static constexpr int kTile = 2, kTaps = 3, kPoints = 4;

  static JADRO_INLINE void source(const V* d, V* t) {  // B^T
    t[0] = d[0] - d[2];
    t[1] = d[2] + d[1];
    t[2] = d[2] - d[1];
    t[3] = d[3] - d[1];
  }
  static JADRO_INLINE void filter(const V* g, V* u) {  // G
    const V even = (g[0] + g[2]) * T(0.5), odd = g[1] * T(0.5);
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  static JADRO_INLINE void result(const V* m, V* y) {  // A^T
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) + m[3];
  }
  static JADRO_INLINE void cotangent(const V* dy, V* p) {  // A
    p[0] = dy[0];
    p[1] = dy[0] + dy[1];
    p[2] = dy[0] - dy[1];
    p[3] = dy[1];
  }
  static JADRO_INLINE void gradient(const V* u, V* g) {  // G^T
    const V sum = (u[1] + u[2]) * T(0.5);
    g[0] = u[0] + sum;
    g[1] = (u[1] - u[2]) * T(0.5);
    g[2] = sum + u[3];
  }
};

// A^T and A for four results and the points a, -a, b, -b of F, whose squares are kAA and kBB.
template <class F, class V>
JADRO_INLINE void paired_results(const V* m, V* y) {
  const V even_a = m[0] + m[1], odd_a = (m[0] - m[1]) * F::kA;
  const V even_b = m[2] + m[3], odd_b = (m[2] - m[3]) * F::kB;
  y[0] = even_a + even_b;
  y[1] = odd_a + odd_b;
  y[2] = even_a * F::kAA + even_b * F::kBB;
  y[3] = odd_a * F::kAA + odd_b * F::kBB;
}
template <class F, class V>
JADRO_INLINE void paired_cotangents(const V* dy, V* p) {
  const V even_a = dy[0] + dy[2] * F::kAA, odd_a = (dy[1] + dy[3] * F::kAA) * F::kA;
  const V even_b = dy[0] + dy[2] * F::kBB, odd_b = (dy[1] + dy[3] * F::kBB) * F::kB;
  p[0] = even_a + odd_a;
  p[1] = even_a - odd_a;
  p[2] = even_b + odd_b;
  p[3] = even_b - odd_b;
}

// What six points share: 0, a, -a, b, -b and infinity with a^2 = 1/2, b^2 = 2, which round a third as much as 1 and 2.
template <class T>
struct SixPoints {
  using V = Vec<T>;
  static constexpr int kPoints = 6;
  static constexpr T kA = T(0.707106781186547524400844362104849039L), kB = T(1.41421356237309504880168872420969808L);

  static JADRO_INLINE void source(const V* d, V* t) {  // B^T
    const V even_a = d[4] - d[2] * T(2), odd_a = d[3] - d[1] * T(2);
    const V even_b = d[4] - d[2] * T(0.5), odd_b = d[3] - d[1] * T(0.5);
    t[0] = d[0] - d[2] * T(2.5) + d[4];
    t[1] = even_a + odd_a * kA;
    t[2] = even_a - odd_a * kA;
    t[3] = even_b + odd_b * kB;
    t[4] = even_b - odd_b * kB;
    t[5] = d[1] - d[3] * T(2.5) + d[5];
  }
};

// F(4, 3).
template <class T>
struct Winograd43 : SixPoints<T> {
  using V = Vec<T>;
  using SixPoints<T>::kA;
  using SixPoints<T>::kB;
  static constexpr int kTile = 4, kTaps = 3;
  static constexpr T kAA = T(0.5), kBB = T(2);

  static JADRO_INLINE void filter(const V* g, V* u) {  // G
    const V even_a = (g[0] + g[2] * T(0.5)) * T(-2.0 / 3), odd_a = g[1] * (kA * T(-2.0 / 3));
    const V even_b = (g[0] + g[2] * T(2)) * T(1.0 / 6), odd_b = g[1] * (kB * T(1.0 / 6));
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
  static JADRO_INLINE void result(const V* m, V* y) {  // A^T
    paired_results<Winograd43>(m + 1, y);
    y[0] += m[0];
    y[3] += m[5];
  }
  static JADRO_INLINE void cotangent(const V* dy, V* p) {  // A
    p[0] = dy[0];
    paired_cotangents<Winograd43>(dy, p + 1);
    p[5] = dy[3];
  }
  static JADRO_INLINE void gradient(const V* u, V* g) {  // G^T
    const V even_a = u[1] + u[2], odd_a = u[1] - u[2], even_b = u[3] + u[4], odd_b = u[3] - u[4];
    g[0] = u[0] - even_a * T(2.0 / 3) + even_b * T(1.0 / 6);
    g[1] = odd_b * (kB * T(1.0 / 6)) - odd_a * (kA * T(2.0 / 3));
    g[2] = (even_b - even_a) * T(1.0 / 3) + u[5];
  }
};

// F(2, 5).
template <class T>
struct Winograd25 : SixPoints<T> {
  using V = Vec<T>;
  using SixPoints<T>::kA;
  using SixPoints<T>::kB;
  static constexpr int kTile = 2, kTaps = 5;

  static JADRO_INLINE void filter(const V* g, V* u) {  // G
    const V even_a = (g[0] + g[2] * T(0.5) + g[4] * T(0.25)) * T(-2.0 / 3);
    const V odd_a = (g[1] + g[3] * T(0.5)) * (kA * T(-2.0 / 3));
    const V even_b = (g[0] + g[2] * T(2) + g[4] * T(4)) * T(1.0 / 6);
    const V odd_b = (g[1] + g[3] * T(2)) * (kB * T(1.0 / 6));
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[4];
  }
  static JADRO_INLINE void result(const V* m, V* y) {  // A^T
    y[0] = m[0] + (m[1] + m[2]) + (m[3] + m[4]);
    y[1] = (m[1] - m[2]) * kA + (m[3] - m[4]) * kB + m[5];
  }
  static JADRO_INLINE void cotangent(const V* dy, V* p) {  // A
    p[0] = dy[0];
    p[1] = dy[0] + dy[1] * kA;
    p[2] = dy[0] - dy[1] * kA;
    p[3] = dy[0] + dy[1] * kB;
    p[4] = dy[0] - dy[1] * kB;
    p[5] = dy[1];
  }
  static JADRO_INLINE void gradient(const V* u, V* g) {  // G^T
    const V even_a = u[1] + u[2], odd_a = (u[1] - u[2]) * kA, even_b = u[3] + u[4], odd_b = (u[3] - u[4]) * kB;
    g[0] = u[0] - even_a * T(2.0 / 3) + even_b * T(1.0 / 6);
    g[1] = odd_b * T(1.0 / 6) - odd_a * T(2.0 / 3);
    g[2] = (even_b - even_a) * T(1.0 / 3);
    g[3] = (odd_b - odd_a) * T(1.0 / 3);
    g[4] = even_b * T(2.0 / 3) - even_a * T(1.0 / 6) + u[5];
  }
};

// F(4, 2): points a, -a, b, -b and infinity, a and b searched for the least rounding: half of that of 0, 1, -1 and 1/2.
template <class T>
struct Winograd42 {
  using V = Vec<T>;
  static constexpr int kTile = 4, kTaps = 2, kPoints = 5;
  static constexpr T kA = T(0.4375), kB = T(1.3125), kAA = kA * kA, kBB = kB * kB;
  static constexpr T kScaleA = T(1) / (2 * kA * (kAA - kBB)), kScaleB = T(1) / (2 * kB * (kBB - kAA));

  static JADRO_INLINE void source(const V* d, V* t) {  // B^T
    const V odd_a = d[3] - d[1] * kBB, even_a = d[2] - d[0] * kBB;
    const V odd_b = d[3] - d[1] * kAA, even_b = d[2] - d[0] * kAA;
    t[0] = odd_a + even_a * kA;
    t[1] = odd_a - even_a * kA;
    t[2] = odd_b + even_b * kB;
    t[3] = odd_b - even_b * kB;
    t[4] = d[4] - d[2] * (kAA + kBB) + d[0] * (kAA * kBB);
  }
  static JADRO_INLINE void filter(const V* g, V* u) {  // G
    const V even_a = g[0] * kScaleA, odd_a = g[1] * (kA * kScaleA);
    const V even_b = g[0] * kScaleB, odd_b = g[1] * (kB * kScaleB);
    u[0] = odd_a + even_a;
    u[1] = odd_a - even_a;
    u[2] = odd_b + even_b;
    u[3] = odd_b - even_b;
    u[4] = g[1];
  }
  static JADRO_INLINE void result(const V* m, V* y) {  // A^T
    paired_results<Winograd42>(m, y);
    y[3] += m[4];
  }
  static JADRO_INLINE void cotangent(const V* dy, V* p) {  // A
    paired_cotangents<Winograd42>(dy, p);
    p[4] = dy[3];
  }
  static JADRO_INLINE void gradient(const V* u, V* g) {  // G^T
    g[0] = (u[0] - u[1]) * kScaleA + (u[2] - u[3]) * kScaleB;
    g[1] = (u[0] + u[1]) * (kA * kScaleA) + (u[2] + u[3]) * (kB * kScaleB) + u[4];
  }
};

}  // namespace
}  // namespace jadro
