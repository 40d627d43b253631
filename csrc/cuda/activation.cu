// Activation functions, forward and from the output backward.
#include "cuda/activation.h"
#include "cuda/map.h"
#include "cuda/math.h"

namespace jadro::cuda {
namespace {

struct Relu {
  template <class T>
  __device__ T operator()(T v, T) const {
    return v <= T(0) ? T(0) : v;
  }
};
struct Tanh {
  template <class T>
  __device__ T operator()(T v, T) const {
    return std::tanh(v);
  }
};
struct Sigmoid {
  template <class T>
  __device__ T operator()(T v, T) const {
    return sigmoid(v);
  }
};

struct ReluGradient {
  template <class T>
  __device__ T operator()(T g, T y) const {
    return y > T(0) ? g : T(0);
  }
};
struct TanhGradient {
  template <class T>
  __device__ T operator()(T g, T y) const {
    return g * (T(1) - y * y);
  }
};
struct SigmoidGradient {
  template <class T>
  __device__ T operator()(T g, T y) const {
    return g * y * (T(1) - y);
  }
};

}  // namespace

template <class T>
cudaError_t activation_forward(Activation f, const T* x, T* y, i64 n, cudaStream_t stream) {
  switch (f) {
    case Activation::kRelu:
      return map(x, x, y, n, Relu{}, stream);
    case Activation::kTanh:
      return map(x, x, y, n, Tanh{}, stream);
    case Activation::kSigmoid:
      return map(x, x, y, n, Sigmoid{}, stream);
  }
  return cudaErrorInvalidValue;
}

template <class T>
cudaError_t activation_backward(Activation f, const T* dy, const T* y, T* dx, i64 n, cudaStream_t stream) {
  switch (f) {
    case Activation::kRelu:
      return map(dy, y, dx, n, ReluGradient{}, stream);
    case Activation::kTanh:
      return map(dy, y, dx, n, TanhGradient{}, stream);
    case Activation::kSigmoid:
      return map(dy, y, dx, n, SigmoidGradient{}, stream);
  }
  return cudaErrorInvalidValue;
}

template cudaError_t activation_forward(Activation, const float*, float*, i64, cudaStream_t);
template cudaError_t activation_forward(Activation, const double*, double*, i64, cudaStream_t);
template cudaError_t activation_backward(Activation, const float*, const float*, float*, i64, cudaStream_t);
template cudaError_t activation_backward(Activation, const double*, const double*, double*, i64, cudaStream_t);

}  // namespace jadro::cuda
