// Softmax cross-entropy, row by row: loss = sum over k of q[k] (lse - x[k]), lse = log(sum of exp(x)), q as
// CrossEntropy says. A warp does a row of few classes, a block one of many.
#include "cuda/cross_entropy.h"
#include "cuda/math.h"
#include "cuda/rows.h"

namespace jadro::cuda {
namespace {

struct Totals {
  double losses, weights;
};

template <class T>
__device__ Sum<T> weight_of(const CrossEntropy<T>& s, i64 k) {
  return s.weight ? number(s.weight[k]) : Sum<T>(1);
}

// Whether a row counts, and whether its target is a class.
template <class T>
__device__ bool is_class(const CrossEntropy<T>& s, i64 target) {
  return target >= 0 && target < s.classes;
}

// The loss of a row, from the smooth part of the sum over its classes.
template <class T, class S>
__device__ S loss_of(const CrossEntropy<T>& s, i64 row, S peak, S log_sum, S smooth) {
  const i64 t = s.target[row];
  if (t == s.ignore_index) return 0;
  if (!is_class(s, t)) return not_a_number<S>();
  const S loss = static_cast<S>(s.hard) * weight_of(s, t) * ((peak - number(s.x[row * s.classes + t])) + log_sum);
  return s.smooth != 0 ? loss + static_cast<S>(s.smooth) * smooth : loss;
}

template <int kGroup, class T>
__global__ void held_forward_kernel(CrossEntropy<T> s, i64 rows, Sum<T>* losses, Sum<T>* lse) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  const int classes = static_cast<int>(s.classes);
  const bool packed = rows_on_packs(s.classes, s.x);
  for_rows<kGroup>(rows, [&](i64 row) {
    HeldRow<kGroup, T> x;
    x.load(s.x + row * classes, classes, packed);
    S peak = -INFINITY, sum = 0, smooth = 0;
    x.each(classes, [&](S v, int) { peak = Larger{}(v, peak); });
    peak = group_reduce<kGroup>(peak, Larger{}, shared);
    x.each(classes, [&](S v, int) { sum += std::exp(v - peak); });
    const S log_sum = std::log(group_reduce<kGroup>(sum, Add{}, shared));
    if (s.smooth != 0) {
      x.each(classes, [&](S v, int k) { smooth += weight_of(s, k) * ((peak - v) + log_sum); });
      smooth = group_reduce<kGroup>(smooth, Add{}, shared);
    }
    if (threadIdx.x % kGroup != 0) return;
    lse[row] = peak + log_sum;
    losses[row] = loss_of(s, row, peak, log_sum, smooth);
  });
}

template <class T>
__global__ void forward_kernel(CrossEntropy<T> s, i64 rows, Sum<T>* losses, Sum<T>* lse) {
  using S = Sum<T>;
  S* const shared = dynamic_shared<S>();
  for_rows<kThreads>(rows, [&](i64 row) {
    const auto x = [&](i64 k) { return number(s.x[row * s.classes + k]); };
    S peak = -INFINITY, sum = 0, smooth = 0;
    for (i64 k = threadIdx.x; k < s.classes; k += kThreads) peak = Larger{}(x(k), peak);
    peak = group_reduce<kThreads>(peak, Larger{}, shared);
    for (i64 k = threadIdx.x; k < s.classes; k += kThreads) sum += std::exp(x(k) - peak);
    const S log_sum = std::log(group_reduce<kThreads>(sum, Add{}, shared));
    if (s.smooth != 0) {
      for (i64 k = threadIdx.x; k < s.classes; k += kThreads) smooth += weight_of(s, k) * ((peak - x(k)) + log_sum);
      smooth = group_reduce<kThreads>(smooth, Add{}, shared);
    }
    if (threadIdx.x != 0) return;
    lse[row] = peak + log_sum;
    losses[row] = loss_of(s, row, peak, log_sum, smooth);
  });
}

constexpr i64 kRowsOfPiece = 1024, kMostPieces = 64;

i64 pieces_of(i64 rows) {
  const i64 pieces = ceil_div(rows, kRowsOfPiece);
  return pieces < kMostPieces ? pieces : kMostPieces;
}

// out[piece]: the sums of the losses and of the weights of the targets that count.
template <class T>
__global__ void totals_kernel(CrossEntropy<T> s, i64 rows, const Sum<T>* losses, Totals* out) {
  const i64 piece = (rows + gridDim.x - 1) / gridDim.x, end = min((blockIdx.x + 1) * piece, rows);
  double* const shared = dynamic_shared<double>();
  double loss = 0, weight = 0;
  for (i64 row = blockIdx.x * piece + threadIdx.x; row < end; row += kThreads) {
    const i64 t = s.target[row];
    loss += losses[row];
    if (t != s.ignore_index && is_class(s, t)) weight += weight_of(s, t);
  }
  loss = group_reduce<kThreads>(loss, Add{}, shared);
  weight = group_reduce<kThreads>(weight, Add{}, shared);
  if (threadIdx.x == 0) out[blockIdx.x] = {loss, weight};
}

// sums[3]: of the losses, of the weights, and the first over the second.
template <class S>
__global__ void finish_kernel(i64 pieces, const Totals* totals, S* sums) {
  Totals mine{0, 0};
  for (i64 piece = threadIdx.x; piece < pieces; piece += 32) {
    mine.losses += totals[piece].losses;
    mine.weights += totals[piece].weights;
  }
  const double losses = warp_reduce(mine.losses, Add{}), weights = warp_reduce(mine.weights, Add{});
  if (threadIdx.x != 0) return;
  sums[0] = static_cast<S>(losses);
  sums[1] = static_cast<S>(weights);
  sums[2] = static_cast<S>(losses / weights);
}

template <class T>
__device__ Sum<T> gradient_of_loss(const LossGradients<T>& g, i64 row) {
  const Sum<T> given = number(g.dlosses[row * g.step]);
  return g.sums ? given / g.sums[1] : given;
}

// What a row's gradient is made of: dx[k] = dloss (softmax(x)[k] sum(q) - q[k])
template <class T>
struct RowGradient {
  using S = Sum<T>;
  const CrossEntropy<T>& s;
  i64 target;
  S hard, smooth, total, dloss, lse;

  __device__ RowGradient(const CrossEntropy<T>& s, i64 row, S weights, const S* lse, const LossGradients<T>& given)
      : s(s),
        target(s.target[row]),
        smooth(static_cast<S>(s.smooth)),
        dloss(gradient_of_loss(given, row)),
        lse(lse[row]) {
    hard = is_class(s, target) ? static_cast<S>(s.hard) * weight_of(s, target) : S(0);
    total = hard + smooth * weights;
  }
  __device__ S at(S x, i64 k) const {
    if (target == s.ignore_index) return 0;
    if (!is_class(s, target)) return not_a_number<S>();
    const S gradient = dloss * (total * std::exp(x - lse) - smooth * weight_of(s, k));
    return k == target ? gradient - dloss * hard : gradient;
  }
};

// The sum of the weights of all classes, where targets are smoothed.
template <int kGroup, class T>
__device__ Sum<T> weights_of(const CrossEntropy<T>& s) {
  Sum<T> weights = 0;
  if (s.smooth == 0) return weights;
  for (i64 k = threadIdx.x % kGroup; k < s.classes; k += kGroup) weights += weight_of(s, k);
  return group_reduce<kGroup>(weights, Add{}, dynamic_shared<Sum<T>>());
}

template <int kGroup, class T>
__global__ void held_backward_kernel(CrossEntropy<T> s, i64 rows, const Sum<T>* lse, LossGradients<T> given, T* dx) {
  const int classes = static_cast<int>(s.classes);
  const bool packed = rows_on_packs(s.classes, s.x, static_cast<const T*>(dx));
  const Sum<T> weights = weights_of<kGroup>(s);
  for_rows<kGroup>(rows, [&](i64 row) {
    HeldRow<kGroup, T> x;
    x.load(s.x + row * classes, classes, packed);
    const RowGradient<T> gradient(s, row, weights, lse, given);
    x.store(dx + row * classes, classes, packed, [&](Sum<T> v, int k) { return gradient.at(v, k); });
  });
}

template <class T>
__global__ void backward_kernel(CrossEntropy<T> s, i64 rows, const Sum<T>* lse, LossGradients<T> given, T* dx) {
  const Sum<T> weights = weights_of<kThreads>(s);
  for_rows<kThreads>(rows, [&](i64 row) {
    const RowGradient<T> gradient(s, row, weights, lse, given);
    const i64 first = row * s.classes;
    for (i64 k = threadIdx.x; k < s.classes; k += kThreads) {
      dx[first + k] = static_cast<T>(gradient.at(number(s.x[first + k]), k));
    }
  });
}

}  // namespace

i64 cross_entropy_scratch(i64 rows) { return pieces_of(rows) * static_cast<i64>(sizeof(Totals)); }

template <class T>
cudaError_t cross_entropy_forward(const CrossEntropy<T>& s, i64 rows, Sum<T>* losses, Sum<T>* lse, Sum<T>* sums,
                                  void* scratch, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  cudaError_t error = launch_rows<T>(rows, s.classes, stream, held_forward_kernel<32, T>,
                                     held_forward_kernel<kThreads, T>, forward_kernel<T>, s, rows, losses, lse);
  if (error != cudaSuccess || !sums) return error;
  Totals* const totals = static_cast<Totals*>(scratch);
  const i64 pieces = pieces_of(rows);
  error = launch(totals_kernel<T>, dim3(static_cast<unsigned>(pieces)), dim3(kThreads), kThreads / 32 * sizeof(double),
                 stream, s, rows, static_cast<const Sum<T>*>(losses), totals);
  if (error != cudaSuccess) return error;
  return launch(finish_kernel<Sum<T>>, dim3(1), dim3(32), 0, stream, pieces, static_cast<const Totals*>(totals), sums);
}

template <class T>
cudaError_t cross_entropy_backward(const CrossEntropy<T>& s, i64 rows, const Sum<T>* lse, const LossGradients<T>& given,
                                   T* dx, cudaStream_t stream) {
  if (rows * s.classes == 0) return cudaSuccess;
  return launch_rows<T>(rows, s.classes, stream, held_backward_kernel<32, T>, held_backward_kernel<kThreads, T>,
                        backward_kernel<T>, s, rows, lse, given, dx);
}

#define JADRO_CROSS_ENTROPY(T)                                                                                         \
  template cudaError_t cross_entropy_forward(const CrossEntropy<T>&, i64, Sum<T>*, Sum<T>*, Sum<T>*, void*,            \
                                             cudaStream_t);                                                            \
  template cudaError_t cross_entropy_backward(const CrossEntropy<T>&, i64, const Sum<T>*, const LossGradients<T>&, T*, \
                                              cudaStream_t);
JADRO_CROSS_ENTROPY(float)
JADRO_CROSS_ENTROPY(double)
JADRO_CROSS_ENTROPY(Half)
JADRO_CROSS_ENTROPY(Bfloat16)
#undef JADRO_CROSS_ENTROPY

}  // namespace jadro::cuda
