// Activation functions, forward and backward: from the output where that says enough, else from the input.
#include "cuda/activation.h"
#include "cuda/map.h"
#include "cuda/math.h"

namespace jadro::cuda {
namespace {

constexpr double kRootHalf = 0.70710678118654752440, kDensity = 0.39894228040143267794;  // sqrt(1/2), 1 / sqrt(2 pi)
constexpr double kGelu = 0.79788456080286535588, kGeluCube = 0.044715;                   // sqrt(2 / pi)

template <class T>
__device__ T bounded(T v, T most) {
  return v > most ? most : v < -most ? -most : v;
}

// The probability of a normal number below x: erfc(z) / 2, z = -x sqrt(1/2), put right by what the rounding of z took
// away, which far out is worth many units.
template <class T>
__device__ T normal_cdf(T x) {
  constexpr T kHigh = T(kRootHalf), kLow = sizeof(T) == 4 ? T(kRootHalf - kHigh) : T(-4.833646656726457e-17);
  const T z = -x * kHigh, rest = std::fma(-x, kHigh, -z) - x * kLow, tail = std::erfc(z);
  const T slope = T(1.12837916709551257390) * std::exp(-z * z);  // of -erfc
  return T(0.5) * (slope > T(0) ? tail - rest * slope : tail);
}

// tanh(u), u = sqrt(2 / pi) (x + 0.044715 x^3), and du/dx; where x is large the tanh is 1 and the slope no matter.
template <class T>
__device__ T gelu_tanh(T x, T* slope) {
  x = bounded(x, T(100));
  *slope = T(kGelu) + T(3 * kGelu * kGeluCube) * (x * x);
  return std::tanh(x * (T(kGelu) + T(kGelu * kGeluCube) * (x * x)));
}

// f(v), and the factor of dy: from y for the first three, from x for the others.
template <class T, Activation kFunction>
struct Function {
  T a, b;

  __device__ T operator()(T v, T) const {
    switch (kFunction) {
      case Activation::kRelu:
        return v <= T(0) ? T(0) : v;
      case Activation::kTanh:
        return std::tanh(v);
      case Activation::kSigmoid:
        return sigmoid(v);
      case Activation::kLeakyRelu:
        return v > T(0) ? v : v * a;
      case Activation::kElu:
        return v > T(0) ? v : a * std::expm1(v);
      case Activation::kGelu:
        return v * normal_cdf(v);
      case Activation::kGeluTanh: {
        T slope;
        return T(0.5) * v * (T(1) + gelu_tanh(v, &slope));
      }
      case Activation::kSilu:
        return v * sigmoid(v);
      case Activation::kHardtanh:
        return v < a ? a : v > b ? b : v;
      case Activation::kSoftplus: {
        const T s = v * a;
        return s > b ? v : ((s > T(0) ? s : T(0)) + std::log1p(std::exp(s > T(0) ? -s : s))) / a;
      }
    }
    return v;
  }
};

template <class T, Activation kFunction>
struct Gradient {
  T a, b;

  __device__ T operator()(T g, T v) const {
    switch (kFunction) {
      case Activation::kRelu:
        return v > T(0) ? g : T(0);
      case Activation::kTanh:
        return g * (T(1) - v * v);
      case Activation::kSigmoid:
        return g * v * (T(1) - v);
      case Activation::kLeakyRelu:
        return v > T(0) ? g : g * a;
      case Activation::kElu:
        return v > T(0) ? g : g * (a * std::exp(v));
      case Activation::kGelu: {
        const T x = bounded(v, T(100));  // infinity times the density there, which is 0
        return g * (normal_cdf(v) + x * (T(kDensity) * std::exp(T(-0.5) * x * x)));
      }
      case Activation::kGeluTanh: {
        T slope;
        const T t = gelu_tanh(v, &slope), half = T(0.5) * bounded(v, T(100));
        return g * (T(0.5) * (T(1) + t) + half * (T(1) - t * t) * slope);
      }
      case Activation::kSilu: {
        const T s = sigmoid(v);
        return g * (s * (T(1) + bounded(v, T(1000)) * (T(1) - s)));
      }
      case Activation::kHardtanh:
        return v <= a || v >= b ? T(0) : g;
      case Activation::kSoftplus:
        return v * a > b ? g : g * sigmoid(v * a);
    }
    return g;
  }
};

// Calls run(Map<T, f>) for the template over the function.
template <class T, template <class, Activation> class Map, class Run>
cudaError_t with_function(Activation f, T a, T b, Run run) {
  switch (f) {
    case Activation::kRelu:
      return run(Map<T, Activation::kRelu>{a, b});
    case Activation::kTanh:
      return run(Map<T, Activation::kTanh>{a, b});
    case Activation::kSigmoid:
      return run(Map<T, Activation::kSigmoid>{a, b});
    case Activation::kLeakyRelu:
      return run(Map<T, Activation::kLeakyRelu>{a, b});
    case Activation::kElu:
      return run(Map<T, Activation::kElu>{a, b});
    case Activation::kGelu:
      return run(Map<T, Activation::kGelu>{a, b});
    case Activation::kGeluTanh:
      return run(Map<T, Activation::kGeluTanh>{a, b});
    case Activation::kSilu:
      return run(Map<T, Activation::kSilu>{a, b});
    case Activation::kHardtanh:
      return run(Map<T, Activation::kHardtanh>{a, b});
    case Activation::kSoftplus:
      return run(Map<T, Activation::kSoftplus>{a, b});
  }
  return cudaErrorInvalidValue;
}

}  // namespace

template <class T>
cudaError_t activation_forward(Activation f, Sum<T> a, Sum<T> b, const T* x, T* y, i64 n, cudaStream_t stream) {
  return with_function<Sum<T>, Function>(f, a, b, [&](auto function) { return map(x, x, y, n, function, stream); });
}

template <class T>
cudaError_t activation_backward(Activation f, Sum<T> a, Sum<T> b, const T* dy, const T* v, T* dx, i64 n,
                                cudaStream_t stream) {
  return with_function<Sum<T>, Gradient>(f, a, b, [&](auto function) { return map(dy, v, dx, n, function, stream); });
}

#define JADRO_ACTIVATION(T)                                                                             \
  template cudaError_t activation_forward(Activation, Sum<T>, Sum<T>, const T*, T*, i64, cudaStream_t); \
  template cudaError_t activation_backward(Activation, Sum<T>, Sum<T>, const T*, const T*, T*, i64, cudaStream_t);
JADRO_ACTIVATION(float)
JADRO_ACTIVATION(double)
JADRO_ACTIVATION(Half)
JADRO_ACTIVATION(Bfloat16)
#undef JADRO_ACTIVATION

}  // namespace jadro::cuda
