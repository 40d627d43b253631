// Activation functions, forward and backward: from the output where that says enough, else from the input. PReLU, whose
// slopes are learnt, sees its channels as batch norm does.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/exponential.h"

namespace jadro {
namespace {

// The normal distribution: Q(x) = exp(-x^2 / 2) t p(u) for x >= 0, t = 1 / (1 + kPole x), u = t scaled to -1 .. 1, and
// p the Chebyshev interpolant of its degree, whose relative error is below half a unit in the last place (4e-9, 1e-17).
// The relative error of Q is below (4 + x^2 / 2) units, that of 1 - Q below 4. Beyond kMost Q is 0.
template <class T>
struct NormalTraits;
template <>
struct NormalTraits<float> {
  static constexpr float kPole = 0.3f, kMost = 15.0f;
  static constexpr int kTerms = 10;
  static constexpr float kSeries[kTerms] = {0.254923642f,     0.162683188f,    0.0682128048f,   0.0154579811f,
                                            -0.000271409459f, -0.00103777021f, -4.86411686e-5f, 8.47388357e-5f,
                                            2.19785787e-6f,   -6.73411593e-6f};
};
template <>
struct NormalTraits<double> {
  static constexpr double kPole = 0.2, kMost = 39.0;
  static constexpr int kTerms = 23;
  static constexpr double kSeries[kTerms] = {
      0.170337928911767283,      0.1402452017328732281,      0.09679797914995926025,    0.05544369442075121553,
      0.0257340130270880171,     0.009194586595106521485,    0.002213075598044590914,   0.000172549724006995065,
      -0.0001048702942073317327, -0.00003864551313818672265, 8.942226209247295109e-7,   3.561970180814234511e-6,
      3.712960308126764288e-7,   -3.16852039207619171e-7,    -5.902496730460374084e-8,  3.206210814907954635e-8,
      6.964534505223477906e-9,   -3.746242666048573701e-9,   -6.989277905610258433e-10, 4.369695884786909165e-10,
      5.38596862208933865e-11,   -3.41441253096533297e-11,   -2.234980489704985305e-12};
};

// *density = exp(-x^2 / 2) / sqrt(2 pi); the result is the probability of a number below x. NaN stays NaN.
template <class T>
JADRO_INLINE Vec<T> normal_cdf(Vec<T> x, Vec<T>* density) {
  using N = NormalTraits<T>;
  constexpr T kFirst = T(1) / (T(1) + N::kPole * N::kMost);  // t of kMost
  x = clamp_to<T>(x, N::kMost);
  const Vec<T> size = x < T(0) ? -x : x, e = vexp<T>(size * size * T(-0.5));
  const Vec<T> t = T(1) / (T(1) + N::kPole * size), u = (t - kFirst) * (T(2) / (T(1) - kFirst)) - T(1);
  Vec<T> p = broadcast(N::kSeries[N::kTerms - 1]);
#pragma GCC unroll 32
  for (int i = N::kTerms - 2; i >= 0; --i) p = p * u + N::kSeries[i];
  const Vec<T> tail = p * t * e;
  *density = e * T(0.39894228040143267794);
  return x > T(0) ? T(1) - tail : tail;
}

// exp(x) - 1 for x <= 0.
template <class T>
JADRO_INLINE Vec<T> vexpm1_below(Vec<T> x) {
  constexpr T kLeast = -2 * ExpTraits<T>::kTanhMax;  // -1 but for less than half a unit
  return vexpm1<T>(at_least(x, kLeast));
}

// log(1 + e) for 0 <= e <= 1: 2 artanh(r), r = e / (2 + e) <= 1/3, by its series.
template <class T>
JADRO_INLINE Vec<T> vlog1p_unit(Vec<T> e) {
  constexpr int kTerms = sizeof(T) == 4 ? 8 : 17;
  const Vec<T> r = e / (e + T(2)), s = r * r;
  Vec<T> p = broadcast(T(1) / T(2 * kTerms - 1));
#pragma GCC unroll 32
  for (int i = kTerms - 2; i >= 0; --i) p = p * s + T(1) / T(2 * i + 1);
  return T(2) * r * p;
}

// tanh(u) with u = sqrt(2 / pi) (x + 0.044715 x^3), and du/dx; where x is large the tanh is 1 and the slope no matter.
template <class T>
JADRO_INLINE Vec<T> gelu_tanh(Vec<T> x, Vec<T>* slope) {
  constexpr T kScale = T(0.79788456080286535588), kCube = T(0.044715);
  x = clamp_to<T>(x, T(100));
  *slope = kScale + (3 * kScale * kCube) * (x * x);
  return vtanh<T>(x * (kScale + (kScale * kCube) * (x * x)));
}

// y[n] = f(x), past the caches where asked. y may be x. NaN stays NaN. For a and b see `Activation`.
template <class T>
void activation_forward(Activation f, T a, T b, const T* x, T* y, i64 n, bool past_caches) {
  const auto map = [&](auto function) {
    map_vectors(y, n, past_caches, [&](i64 i, i64 count) { return function(load_n(x + i, count)); });
  };
  switch (f) {
    case Activation::kRelu:
      return map([](Vec<T> v) { return v <= T(0) ? Vec<T>{} : v; });
    case Activation::kTanh:
      return map([](Vec<T> v) { return vtanh<T>(v); });
    case Activation::kSigmoid:
      return map([](Vec<T> v) { return vsigmoid<T>(v); });
    case Activation::kLeakyRelu:
      return map([a](Vec<T> v) { return v > T(0) ? v : v * a; });
    case Activation::kElu:
      return map([a](Vec<T> v) { return v > T(0) ? v : a * vexpm1_below<T>(v); });
    case Activation::kGelu:
      return map([](Vec<T> v) {
        Vec<T> density;
        return v * normal_cdf<T>(v, &density);
      });
    case Activation::kGeluTanh:
      return map([](Vec<T> v) {
        Vec<T> slope;
        return T(0.5) * v * (T(1) + gelu_tanh<T>(v, &slope));
      });
    case Activation::kSilu:
      return map([](Vec<T> v) { return v * vsigmoid<T>(v); });
    case Activation::kHardtanh:
      return map([a, b](Vec<T> v) {
        v = v < a ? broadcast(a) : v;
        return v > b ? broadcast(b) : v;
      });
    case Activation::kSoftplus:
      return map([a, b](Vec<T> v) {
        const Vec<T> s = v * a, e = vexp<T>(s > T(0) ? -s : s);
        return s > b ? v : ((s > T(0) ? s : Vec<T>{}) + vlog1p_unit<T>(e)) / a;
      });
  }
}

// dx[n] = dy f'. relu [y > 0], tanh 1 - y^2, sigmoid y (1 - y) come from v = y, the others from v = x. dx may be dy.
template <class T>
void activation_backward(Activation f, T a, T b, const T* dy, const T* v, T* dx, i64 n, bool past_caches) {
  const auto map = [&](auto function) {
    map_vectors(dx, n, past_caches,
                [&](i64 i, i64 count) { return function(load_n(dy + i, count), load_n(v + i, count)); });
  };
  switch (f) {
    case Activation::kRelu:
      return map([](Vec<T> g, Vec<T> y) { return y > T(0) ? g : Vec<T>{}; });
    case Activation::kTanh:
      return map([](Vec<T> g, Vec<T> y) { return g * (T(1) - y * y); });
    case Activation::kSigmoid:
      return map([](Vec<T> g, Vec<T> y) { return g * y * (T(1) - y); });
    case Activation::kLeakyRelu:
      return map([a](Vec<T> g, Vec<T> x) { return x > T(0) ? g : g * a; });
    case Activation::kElu:
      return map([a](Vec<T> g, Vec<T> x) { return x > T(0) ? g : g * (a * vexp<T>(x)); });
    case Activation::kGelu:
      return map([](Vec<T> g, Vec<T> x) {
        Vec<T> density;
        const Vec<T> p = normal_cdf<T>(x, &density);
        return g * (p + clamp_to<T>(x, NormalTraits<T>::kMost) * density);
      });
    case Activation::kGeluTanh:
      return map([](Vec<T> g, Vec<T> x) {
        Vec<T> slope;
        const Vec<T> t = gelu_tanh<T>(x, &slope), half = T(0.5) * clamp_to<T>(x, T(100));
        return g * (T(0.5) * (T(1) + t) + half * (T(1) - t * t) * slope);
      });
    case Activation::kSilu:
      return map([](Vec<T> g, Vec<T> x) {
        const Vec<T> s = vsigmoid<T>(x);
        return g * (s * (T(1) + clamp_to<T>(x, ExpTraits<T>::kMax) * (T(1) - s)));
      });
    case Activation::kHardtanh:
      return map([a, b](Vec<T> g, Vec<T> x) { return (x <= a) | (x >= b) ? Vec<T>{} : g; });
    case Activation::kSoftplus:
      return map([a, b](Vec<T> g, Vec<T> x) { return x * a > b ? g : g * vsigmoid<T>(x * a); });
  }
}

// y = x where x > 0, else w x, with w [c].
template <class T>
void prelu_forward(const ChannelShape& b, const T* x, const T* w, Range channels, Range items, T* y, bool past_caches) {
  map_channels(
      b, channels, items, y, past_caches, [&](auto channel) { return channel(w); },
      [=](i64 at, i64 count, Vec<T> slope) {
        const Vec<T> v = load_n(x + at, count);
        return v > T(0) ? v : v * slope;
      });
}

// dx = dy where x > 0, else w dy; dw[c] = sum of dy x where x <= 0, in T by blocks, then in double. Either may be null.
template <class T>
void prelu_backward(const ChannelShape& b, const T* dy, const T* x, const T* w, Range channels, Range items, T* dx,
                    double* dw, bool past_caches) {
  const i64 kBlock = b.s == 1 ? 128 : 4096;
  for (i64 c = channels.begin; dw && c < channels.end; ++c) dw[c] = 0;
  for (i64 first = items.begin; first < items.end; first += kBlock) {
    const Range block{first, min(first + kBlock, items.end)};
    if (dw) {
      sum_channels<T>(
          b, channels, block, [](auto) { return 0; },
          [=](i64 at, i64 count, int) {
            const Vec<T> v = load_n(x + at, count), product = load_n(dy + at, count) * v;
            return Two<T>{v > T(0) ? Vec<T>{} : product, Vec<T>{}};
          },
          [&](i64 c, T sum, T) { dw[c] += sum; });
    }
    if (!dx) continue;
    map_channels(
        b, channels, block, dx, past_caches, [&](auto channel) { return channel(w); },
        [=](i64 at, i64 count, Vec<T> slope) {
          const Vec<T> v = load_n(x + at, count), g = load_n(dy + at, count);
          return v > T(0) ? g : g * slope;
        });
  }
}

}  // namespace
}  // namespace jadro
