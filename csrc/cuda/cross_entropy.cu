// Softmax cross-entropy, row by row: loss = sum over k of q[k] (lse - x[k]), lse = log(sum of exp(x)), q as
// CrossEntropy says. A warp does a row of few classes, a block one of many.
#include "cuda/cross_entropy.h"
#include "cuda/launch.h"
#include "cuda/math.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

constexpr i64 kFewClasses = 1024;

template <class T>
__device__ T weight_of(const CrossEntropy<T>& s, i64 k) {
  return s.weight ? s.weight[k] : T(1);
}

// Whether a row counts, and whether its target is a class.
template <class T>
__device__ bool is_class(const CrossEntropy<T>& s, i64 target) {
  return target >= 0 && target < s.classes;
}

// The rows of a group of kGroup threads: f(row, the thread's place in the group).
template <int kGroup, class F>
__device__ void for_rows(i64 rows, F f) {
  constexpr int kGroups = kThreads / kGroup;
  const int group = static_cast<int>(threadIdx.x) / kGroup, place = static_cast<int>(threadIdx.x) % kGroup;
  const i64 step = static_cast<i64>(gridDim.x) * kGroups;
  for (i64 row = static_cast<i64>(blockIdx.x) * kGroups + group; row < rows; row += step) f(row, place);
}

template <int kGroup, class T>
__global__ void forward_kernel(CrossEntropy<T> s, i64 rows, T* losses, T* lse) {
  T* const shared = dynamic_shared<T>();
  for_rows<kGroup>(rows, [&](i64 row, int place) {
    const T* const x = s.x + row * s.classes;
    T peak = -INFINITY;
    for (i64 k = place; k < s.classes; k += kGroup) peak = Larger{}(x[k], peak);
    peak = group_reduce<kGroup>(peak, Larger{}, shared);
    T sum = 0, smooth = 0;
    for (i64 k = place; k < s.classes; k += kGroup) sum += std::exp(x[k] - peak);
    const T log_sum = std::log(group_reduce<kGroup>(sum, Add{}, shared));
    if (s.smooth != 0) {
      for (i64 k = place; k < s.classes; k += kGroup) smooth += weight_of(s, k) * ((peak - x[k]) + log_sum);
      smooth = group_reduce<kGroup>(smooth, Add{}, shared);
    }
    if (place != 0) return;
    lse[row] = peak + log_sum;
    const i64 t = s.target[row];
    if (t == s.ignore_index) {
      losses[row] = 0;
    } else if (!is_class(s, t)) {
      losses[row] = not_a_number<T>();
    } else {
      losses[row] = static_cast<T>(s.hard) * weight_of(s, t) * ((peak - x[t]) + log_sum);
      if (s.smooth != 0) losses[row] += static_cast<T>(s.smooth) * smooth;
    }
  });
}

// dx[k] = dloss (softmax(x)[k] sum(q) - q[k])
template <int kGroup, class T>
__global__ void backward_kernel(CrossEntropy<T> s, i64 rows, const T* lse, const T* dlosses, T* dx) {
  T* const shared = dynamic_shared<T>();
  const int place = static_cast<int>(threadIdx.x) % kGroup;
  T weights = 0;
  if (s.smooth != 0) {
    for (i64 k = place; k < s.classes; k += kGroup) weights += weight_of(s, k);
    weights = group_reduce<kGroup>(weights, Add{}, shared);
  }
  for_rows<kGroup>(rows, [&](i64 row, int) {
    const T* const x = s.x + row * s.classes;
    T* const d = dx + row * s.classes;
    const i64 t = s.target[row];
    if (t == s.ignore_index || !is_class(s, t)) {
      const T value = t == s.ignore_index ? T(0) : not_a_number<T>();
      for (i64 k = place; k < s.classes; k += kGroup) d[k] = value;
      return;
    }
    const T hard = static_cast<T>(s.hard) * weight_of(s, t), smooth = static_cast<T>(s.smooth);
    const T total = hard + smooth * weights, dloss = dlosses[row];
    for (i64 k = place; k < s.classes; k += kGroup) {
      const T gradient = dloss * (total * std::exp(x[k] - lse[row]) - smooth * weight_of(s, k));
      d[k] = k == t ? gradient - dloss * hard : gradient;
    }
  });
}

dim3 blocks_of(i64 rows, i64 classes) { return dim3(blocks_for(rows * (classes <= kFewClasses ? 32 : kThreads))); }

}  // namespace

template <class T>
cudaError_t cross_entropy_forward(const CrossEntropy<T>& s, i64 rows, T* losses, T* lse, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const auto kernel = s.classes <= kFewClasses ? forward_kernel<32, T> : forward_kernel<kThreads, T>;
  return launch(kernel, blocks_of(rows, s.classes), dim3(kThreads), kThreads / 32 * sizeof(T), stream, s, rows, losses,
                lse);
}

template <class T>
cudaError_t cross_entropy_backward(const CrossEntropy<T>& s, i64 rows, const T* lse, const T* dlosses, T* dx,
                                   cudaStream_t stream) {
  if (rows * s.classes == 0) return cudaSuccess;
  const auto kernel = s.classes <= kFewClasses ? backward_kernel<32, T> : backward_kernel<kThreads, T>;
  return launch(kernel, blocks_of(rows, s.classes), dim3(kThreads), kThreads / 32 * sizeof(T), stream, s, rows, lse,
                dlosses, dx);
}

template cudaError_t cross_entropy_forward(const CrossEntropy<float>&, i64, float*, float*, cudaStream_t);
template cudaError_t cross_entropy_forward(const CrossEntropy<double>&, i64, double*, double*, cudaStream_t);
template cudaError_t cross_entropy_backward(const CrossEntropy<float>&, i64, const float*, const float*, float*,
                                            cudaStream_t);
template cudaError_t cross_entropy_backward(const CrossEntropy<double>&, i64, const double*, const double*, double*,
                                            cudaStream_t);

}  // namespace jadro::cuda
