// The steps of the optimizers, with the rules of kernels/update_rules.h, and what clips gradients. A launch takes 64
// arrays, cut into pieces of a block each.
#include "cuda/optim.h"
#include "cuda/reduce.h"
#include "cuda/simd.h"
#include "kernels/update_rules.h"

namespace jadro::cuda {
namespace {

constexpr int kMost = 64;            // arrays of a launch: what fits in 4 KB of arguments
constexpr i64 kEach = 8 * kThreads;  // elements of a block

template <class Item>
struct Batch {
  Item of[kMost];
  u32 first[kMost];  // the first block of each
  int count;

  // The item of this block.
  __device__ int mine() const {
    int low = 0, high = count;  // first[low] <= block < first[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first[middle] <= blockIdx.x) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
  // f(element) for the thread's elements of the block.
  template <class F>
  __device__ void for_elements(int item, F f) const {
    const i64 begin = static_cast<i64>(blockIdx.x - first[item]) * kEach, end = min(begin + kEach, of[item].n);
    for (i64 i = begin + threadIdx.x; i < end; i += kThreads) f(i);
  }
};

// run(batch, its blocks, the number of blocks before it) for all items that are not empty.
template <class Item, class F>
cudaError_t for_batches(const Item* items, i64 count, F run) {
  i64 before = 0;
  for (i64 next = 0; next < count;) {
    Batch<Item> batch{};
    i64 blocks = 0;
    for (; next < count && batch.count < kMost; ++next) {
      if (items[next].n == 0) continue;
      batch.of[batch.count] = items[next];
      batch.first[batch.count++] = static_cast<u32>(blocks);
      blocks += ceil_div(items[next].n, kEach);
    }
    if (blocks == 0) continue;
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    const cudaError_t error = run(batch, dim3(static_cast<unsigned>(blocks)), before);
    if (error != cudaSuccess) return error;
    before += blocks;
  }
  return cudaSuccess;
}

template <class T, class Rule>
__global__ void step_kernel(OptimStep<Sum<T>> o, Batch<OptimParameter<T>> batch) {
  using S = Sum<T>;
  const int item = batch.mine();
  const OptimParameter<T>& a = batch.of[item];
  batch.for_elements(item, [&](i64 i) {
    const S p = static_cast<S>(a.p[i]) * o.shrink;
    const S g = o.sign * static_cast<S>(a.g[i]) + o.decay * p;
    S s[Rule::kStates + 1];
    for (int k = 0; k < Rule::kStates; ++k) s[k] = static_cast<S>(a.state[k][i]);
    a.p[i] = static_cast<T>(p - Rule::update(o, g, s));
    for (int k = 0; k < Rule::kStates; ++k) a.state[k][i] = static_cast<T>(s[k]);
  });
}

// f(rule) for the type of a rule.
template <class T, class F>
cudaError_t with_rule(OptimRule rule, F f) {
  switch (rule) {
    case OptimRule::kSgd:
      return f(SgdRule<T, false>{});
    case OptimRule::kSgdMomentum:
      return f(SgdRule<T, true>{});
    case OptimRule::kAdagrad:
      return f(AdagradRule<T>{});
    case OptimRule::kRmsprop:
      return f(RmspropRule<T, false, false>{});
    case OptimRule::kRmspropMomentum:
      return f(RmspropRule<T, false, true>{});
    case OptimRule::kRmspropCentered:
      return f(RmspropRule<T, true, false>{});
    case OptimRule::kRmspropCenteredMomentum:
      return f(RmspropRule<T, true, true>{});
    case OptimRule::kAdam:
      return f(AdamRule<T, false>{});
    case OptimRule::kAdamLargest:
      return f(AdamRule<T, true>{});
  }
  return cudaErrorInvalidValue;
}

// What a norm does with a number, and with two results.
template <Norm kNorm>
struct NormOf {
  __device__ double size(double v) const { return kNorm == Norm::kSquares ? v * v : std::fabs(v); }
  __device__ double operator()(double a, double b) const { return kNorm == Norm::kLargest ? Larger{}(a, b) : a + b; }
};

template <class T, Norm kNorm>
__global__ void norm_kernel(Batch<Span<T>> batch, double* parts) {
  const NormOf<kNorm> norm;
  const int item = batch.mine();
  double sum = 0;
  batch.for_elements(item, [&](i64 i) { sum = norm(sum, norm.size(static_cast<Sum<T>>(batch.of[item].x[i]))); });
  sum = group_reduce<kThreads>(sum, norm, dynamic_shared<double>());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

template <Norm kNorm>
__global__ void join_kernel(const double* parts, i64 count, double* result) {
  const NormOf<kNorm> norm;
  double sum = 0;
  for (i64 i = threadIdx.x; i < count; i += kThreads) sum = norm(sum, parts[i]);
  sum = group_reduce<kThreads>(sum, norm, dynamic_shared<double>());
  if (threadIdx.x == 0) *result = sum;
}

template <class T>
__global__ void clip_kernel(Sum<T> scale, Sum<T> low, Sum<T> high, Batch<Span<T>> batch) {
  const int item = batch.mine();
  batch.for_elements(item, [&](i64 i) {
    Sum<T> v = scale * static_cast<Sum<T>>(batch.of[item].x[i]);
    v = v < low ? low : v;
    batch.of[item].x[i] = static_cast<T>(v > high ? high : v);
  });
}

constexpr std::size_t kReduceShared = kThreads / 32 * sizeof(double);

template <Norm kNorm, class T>
cudaError_t norm_of(const Span<T>* arrays, i64 count, double* scratch, cudaStream_t stream) {
  const i64 parts = grad_norm_scratch(arrays, count) - 1;
  const cudaError_t error = for_batches(arrays, count, [&](const Batch<Span<T>>& batch, dim3 blocks, i64 before) {
    return launch(norm_kernel<T, kNorm>, blocks, dim3(kThreads), kReduceShared, stream, batch, scratch + before);
  });
  if (error != cudaSuccess) return error;
  return launch(join_kernel<kNorm>, dim3(1), dim3(kThreads), kReduceShared, stream, static_cast<const double*>(scratch),
                parts, scratch + parts);
}

}  // namespace

template <class T>
cudaError_t optim_step(OptimRule rule, const OptimStep<Sum<T>>& step, const OptimParameter<T>* parameters, i64 count,
                       cudaStream_t stream) {
  return with_rule<Sum<T>>(rule, [&](auto type) {
    using Rule = decltype(type);
    return for_batches(parameters, count, [&](const Batch<OptimParameter<T>>& batch, dim3 blocks, i64) {
      return launch(step_kernel<T, Rule>, blocks, dim3(kThreads), 0, stream, step, batch);
    });
  });
}

template <class T>
i64 grad_norm_scratch(const Span<T>* arrays, i64 count) {
  i64 blocks = 0;
  for (i64 i = 0; i < count; ++i) blocks += ceil_div(arrays[i].n, kEach);
  return blocks + 1;
}

template <class T>
cudaError_t grad_norm(Norm norm, const Span<T>* arrays, i64 count, double* result, double* scratch,
                      cudaStream_t stream) {
  cudaError_t error = norm == Norm::kSquares ? norm_of<Norm::kSquares>(arrays, count, scratch, stream)
                      : norm == Norm::kSizes ? norm_of<Norm::kSizes>(arrays, count, scratch, stream)
                                             : norm_of<Norm::kLargest>(arrays, count, scratch, stream);
  if (error != cudaSuccess) return error;
  const double* const found = scratch + grad_norm_scratch(arrays, count) - 1;
  error = cudaMemcpyAsync(result, found, sizeof *result, cudaMemcpyDeviceToHost, stream);
  return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
}

template <class T>
cudaError_t grad_clip(Sum<T> scale, Sum<T> low, Sum<T> high, const Span<T>* arrays, i64 count, cudaStream_t stream) {
  return for_batches(arrays, count, [&](const Batch<Span<T>>& batch, dim3 blocks, i64) {
    return launch(clip_kernel<T>, blocks, dim3(kThreads), 0, stream, scale, low, high, batch);
  });
}

template cudaError_t optim_step(OptimRule, const OptimStep<float>&, const OptimParameter<float>*, i64, cudaStream_t);
template i64 grad_norm_scratch(const Span<float>*, i64);
template cudaError_t grad_norm(Norm, const Span<float>*, i64, double*, double*, cudaStream_t);
template cudaError_t grad_clip(float, float, float, const Span<float>*, i64, cudaStream_t);
template cudaError_t optim_step(OptimRule, const OptimStep<double>&, const OptimParameter<double>*, i64, cudaStream_t);
template i64 grad_norm_scratch(const Span<double>*, i64);
template cudaError_t grad_norm(Norm, const Span<double>*, i64, double*, double*, cudaStream_t);
template cudaError_t grad_clip(double, double, double, const Span<double>*, i64, cudaStream_t);
template cudaError_t optim_step(OptimRule, const OptimStep<float>&, const OptimParameter<Half>*, i64, cudaStream_t);
template i64 grad_norm_scratch(const Span<Half>*, i64);
template cudaError_t grad_norm(Norm, const Span<Half>*, i64, double*, double*, cudaStream_t);
template cudaError_t grad_clip(float, float, float, const Span<Half>*, i64, cudaStream_t);
template cudaError_t optim_step(OptimRule, const OptimStep<float>&, const OptimParameter<Bfloat16>*, i64, cudaStream_t);
template i64 grad_norm_scratch(const Span<Bfloat16>*, i64);
template cudaError_t grad_norm(Norm, const Span<Bfloat16>*, i64, double*, double*, cudaStream_t);
template cudaError_t grad_clip(float, float, float, const Span<Bfloat16>*, i64, cudaStream_t);

}  // namespace jadro::cuda
