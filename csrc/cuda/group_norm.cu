// Normalisation of the groups of each row: a warp or a block holds a piece [n,group], whose numbers are neighbours, and
// a block reads it again where it is longer. Sums are double.
#include <cmath>

#include "cuda/channels.h"
#include "cuda/divide.h"
#include "cuda/group_norm.h"
#include "cuda/math.h"
#include "cuda/rows.h"

namespace jadro::cuda {
namespace {

i64 piece_size(const ChannelShape& b, i64 groups) { return b.c / groups * b.s; }

// The channels of a piece: place k belongs to the k / s-th from the first.
struct PieceChannels {
  i64 first, s;
  Divider by_s;

  __device__ PieceChannels(const ChannelShape& b, i64 groups, i64 piece, const Divider& by_s)
      : first(piece % groups * (b.c / groups)), s(b.s), by_s(by_s) {}
  __device__ i64 of(i64 k) const {
    if (s == 1) return first + k;
    return first + (k <= INT32_MAX ? static_cast<i64>(by_s.divide(static_cast<u32>(k))) : k / s);
  }
  // What belongs to places k, k + 1, ... of a held piece of `size`; `otherwise` where there is nothing.
  template <class Row, class T>
  __device__ void load(const T* numbers, int k, int size, Sum<T> otherwise, Sum<T> (&out)[Row::kSize]) const {
    using Run = typename Row::Run;
    const T* const from = numbers + first + k;
    if (numbers && s == 1 && k + Row::kSize <= size && reinterpret_cast<std::uintptr_t>(from) % sizeof(Run) == 0) {
      const Run run = *reinterpret_cast<const Run*>(from);
#pragma unroll
      for (int i = 0; i < Row::kSize; ++i) out[i] = number(run.v[i]);
      return;
    }
#pragma unroll
    for (int i = 0; i < Row::kSize; ++i) out[i] = numbers && k + i < size ? number(numbers[of(k + i)]) : otherwise;
  }
};

// The numbers of a piece: y = d rstd weight + bias with d = (x - mean) - lost; `lost` is what the rounding of the mean
// took. S is what numbers are computed in.
template <class S>
struct Normal {
  S mean, lost, rstd = 0;

  __device__ explicit Normal(double exact) : mean(static_cast<S>(exact)), lost(static_cast<S>(exact - mean)) {}
  __device__ void scale(double variance, double eps) { rstd = static_cast<S>(1 / std::sqrt(variance + eps)); }
  __device__ S distance(S x) const { return (x - mean) - lost; }
  __device__ S of(S d, S weight, S bias) const { return d * (rstd * weight) + bias; }
  template <class T>
  __device__ void save(const GroupNormForward<T>& f, i64 piece) const {
    f.save_mean[piece] = mean;
    f.save_rstd[piece] = rstd;
  }
};

// y, and mean and sum of squared distances of each piece to `moments`, where they are wanted.
template <int kGroup, class T>
__global__ void __launch_bounds__(kThreads, 2)
    held_forward_kernel(GroupNormForward<T> f, i64 piece_size, Divider by_s, double* moments) {
  using Row = HeldRow<kGroup, T>;
  using S = Sum<T>;
  double* const shared = dynamic_shared<double>();
  const int size = static_cast<int>(piece_size);
  const bool packed = rows_on_packs(piece_size, f.x, static_cast<const T*>(f.y));
  for_rows<kGroup>(f.shape.n * f.groups, [&](i64 p) {
    Row x;
    x.load(f.x + p * piece_size, size, packed);
    double sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < Row::kItems; ++i) sum += x.v[i];
    const double count = size, mean = group_reduce<kGroup>(sum, Add{}, shared) / count;
    Normal<S> normal(mean);
    x.each(size, [&](S& v, int) {
      v = normal.distance(v);
      squares += static_cast<double>(v) * v;
    });
    squares = group_reduce<kGroup>(squares, Add{}, shared);
    normal.scale(squares / count, f.eps);
    if (threadIdx.x % kGroup == 0) {
      normal.save(f, p);
      if (f.running_mean) moments[2 * p] = mean, moments[2 * p + 1] = squares;
    }
    const PieceChannels channels(f.shape, f.groups, p, by_s);
#pragma unroll
    for (int j = 0; j < Row::kPacks; ++j) {
      const int k = Row::first_of(j);
      if (k >= size) continue;
      S weight[Row::kSize], bias[Row::kSize];
      channels.load<Row>(f.weight, k, size, S(1), weight);
      channels.load<Row>(f.bias, k, size, S(0), bias);
#pragma unroll
      for (int i = 0; i < Row::kSize; ++i) {
        S& v = x.v[j * Row::kSize + i];
        v = normal.of(v, weight[i], bias[i]);
      }
    }
    x.store(f.y + p * piece_size, size, packed, [](S v, int) { return v; });
  });
}

template <class T>
__global__ void forward_kernel(GroupNormForward<T> f, i64 size, Divider by_s, double* moments) {
  using S = Sum<T>;
  double* const shared = dynamic_shared<double>();
  for_rows<kThreads>(f.shape.n * f.groups, [&](i64 p) {
    const T* const x = f.x + p * size;
    double sum = 0, squares = 0;
    for (i64 i = threadIdx.x; i < size; i += kThreads) sum += number(x[i]);
    const double count = static_cast<double>(size), mean = group_reduce<kThreads>(sum, Add{}, shared) / count;
    Normal<S> normal(mean);
    for (i64 i = threadIdx.x; i < size; i += kThreads) {
      const double d = normal.distance(number(x[i]));
      squares += d * d;
    }
    squares = group_reduce<kThreads>(squares, Add{}, shared);
    normal.scale(squares / count, f.eps);
    if (threadIdx.x == 0) {
      normal.save(f, p);
      if (f.running_mean) moments[2 * p] = mean, moments[2 * p + 1] = squares;
    }
    const PieceChannels channels(f.shape, f.groups, p, by_s);
    for (i64 i = threadIdx.x; i < size; i += kThreads) {
      const i64 c = channels.of(i);
      const S weight = f.weight ? number(f.weight[c]) : S(1), bias = f.bias ? number(f.bias[c]) : S(0);
      f.y[p * size + i] = static_cast<T>(normal.of(normal.distance(number(x[i])), weight, bias));
    }
  });
}

template <class T>
__global__ void running_kernel(GroupNormForward<T> f, const double* moments) {
  const i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= f.shape.c) return;
  const double rows = static_cast<double>(f.shape.n), rest = static_cast<double>(f.shape.s - 1);
  double mean = 0, var = 0;
  for (i64 n = 0; n < f.shape.n; ++n) {
    mean += moments[2 * (n * f.shape.c + c)] / rows;
    var += moments[2 * (n * f.shape.c + c) + 1] / rest / rows;
  }
  const auto move = [&](T& to, double moment) {
    const double from = number(to);
    to = static_cast<T>(static_cast<Sum<T>>(from + f.momentum * (moment - from)));
  };
  move(f.running_mean[c], mean);
  move(f.running_var[c], var);
}

// dx = (g - shift - (x - mean) slope) rstd with g = dy weight, shift = mean(g) and slope = mean(g (x - mean)) rstd^2
template <class S>
struct Gradient {
  S shift, slope;

  __device__ Gradient(double sum, double sum_x, double count, double rstd)
      : shift(static_cast<S>(sum / count)), slope(static_cast<S>(sum_x / count * rstd * rstd)) {}
  __device__ S of(S g, S d, S rstd) const { return (g - shift - d * slope) * rstd; }
};

template <int kGroup, class T>
__global__ void __launch_bounds__(kThreads, 2)
    held_backward_kernel(GroupNormBackward<T> b, i64 piece_size, Divider by_s) {
  using Row = HeldRow<kGroup, T>;
  using S = Sum<T>;
  double* const shared = dynamic_shared<double>();
  const int size = static_cast<int>(piece_size);
  const bool packed = rows_on_packs(piece_size, b.x, b.dy, static_cast<const T*>(b.dx));
  for_rows<kGroup>(b.shape.n * b.groups, [&](i64 p) {
    const S mean = b.save_mean[p], rstd = b.save_rstd[p];
    const PieceChannels channels(b.shape, b.groups, p, by_s);
    Row g, d;
    g.load(b.dy + p * piece_size, size, packed);
    d.load(b.x + p * piece_size, size, packed);
    double sum = 0, sum_x = 0;
#pragma unroll
    for (int j = 0; j < Row::kPacks; ++j) {
      if (Row::first_of(j) >= size) continue;
      S weight[Row::kSize];
      channels.load<Row>(b.weight, Row::first_of(j), size, S(1), weight);
#pragma unroll
      for (int i = j * Row::kSize; i < (j + 1) * Row::kSize; ++i) {
        g.v[i] = product(g.v[i], weight[i - j * Row::kSize]);
        d.v[i] -= mean;
        sum += g.v[i];
        sum_x += static_cast<double>(g.v[i]) * d.v[i];
      }
    }
    sum = group_reduce<kGroup>(sum, Add{}, shared);
    sum_x = group_reduce<kGroup>(sum_x, Add{}, shared);
    const Gradient<S> gradient(sum, sum_x, size, rstd);
#pragma unroll
    for (int i = 0; i < Row::kItems; ++i) g.v[i] = gradient.of(g.v[i], d.v[i], rstd);
    g.store(b.dx + p * piece_size, size, packed, [](S v, int) { return v; });
  });
}

template <class T>
__global__ void backward_kernel(GroupNormBackward<T> b, i64 size, Divider by_s) {
  using S = Sum<T>;
  double* const shared = dynamic_shared<double>();
  for_rows<kThreads>(b.shape.n * b.groups, [&](i64 p) {
    const S mean = b.save_mean[p], rstd = b.save_rstd[p];
    const PieceChannels channels(b.shape, b.groups, p, by_s);
    const T *const dy = b.dy + p * size, *const x = b.x + p * size;
    const auto scaled = [&](i64 i) {
      return b.weight ? product(number(dy[i]), number(b.weight[channels.of(i)])) : number(dy[i]);
    };
    double sum = 0, sum_x = 0;
    for (i64 i = threadIdx.x; i < size; i += kThreads) {
      const double g = scaled(i);
      sum += g;
      sum_x += g * (number(x[i]) - mean);
    }
    sum = group_reduce<kThreads>(sum, Add{}, shared);
    sum_x = group_reduce<kThreads>(sum_x, Add{}, shared);
    const Gradient<S> gradient(sum, sum_x, static_cast<double>(size), rstd);
    for (i64 i = threadIdx.x; i < size; i += kThreads) {
      b.dx[p * size + i] = static_cast<T>(gradient.of(scaled(i), number(x[i]) - mean, rstd));
    }
  });
}

// out[piece,c]: sums of dy and of dy xhat.
template <class T>
__global__ void sums_kernel(GroupNormBackward<T> b, int lanes, BatchNormSums* out) {
  const Place p = place_of(b.shape, lanes);
  BatchNormSums mine{0, 0};
  if (p.c < b.shape.c) {
    const i64 group = p.c / (b.shape.c / b.groups);
    for_items(b.shape, p.c, p.item, p.end, p.step, [&](i64 at, i64 n) {
      const i64 piece = n * b.groups + group;
      const double g = number(b.dy[at]);
      mine.dy += g;
      mine.dy_x += g * (number(b.x[at]) - b.save_mean[piece]) * b.save_rstd[piece];
    });
  }
  join_block(mine, lanes, p.c, b.shape.c, out, [](const BatchNormSums& l, const BatchNormSums& r) {
    return BatchNormSums{l.dy + r.dy, l.dy_x + r.dy_x};
  });
}

template <class T>
__global__ void finish_kernel(GroupNormBackward<T> b, i64 pieces, const BatchNormSums* sums) {
  const i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= b.shape.c) return;
  BatchNormSums total{0, 0};
  for (i64 piece = 0; piece < pieces; ++piece) {
    total.dy += sums[piece * b.shape.c + c].dy;
    total.dy_x += sums[piece * b.shape.c + c].dy_x;
  }
  if (b.dweight) b.dweight[c] = static_cast<T>(static_cast<Sum<T>>(total.dy_x));
  if (b.dbias) b.dbias[c] = static_cast<T>(static_cast<Sum<T>>(total.dy));
}

dim3 blocks_of_channels(i64 c) { return dim3(static_cast<unsigned>(ceil_div(c, kThreads))); }

}  // namespace

i64 group_norm_scratch(const ChannelShape& b, i64 groups) {
  const i64 moments = 2 * b.n * groups * static_cast<i64>(sizeof(double));
  const i64 sums = ChannelPlan(b).pieces * b.c * static_cast<i64>(sizeof(BatchNormSums));
  return moments > sums ? moments : sums;
}

template <class T>
cudaError_t group_norm_forward(const GroupNormForward<T>& f, void* scratch, cudaStream_t stream) {
  double* const moments = static_cast<double*>(scratch);
  const i64 size = piece_size(f.shape, f.groups), pieces = f.shape.n * f.groups;
  if (pieces * size == 0) return cudaSuccess;
  const cudaError_t error =
      launch_rows<T>(pieces, size, stream, held_forward_kernel<32, T>, held_forward_kernel<kThreads, T>,
                     forward_kernel<T>, f, size, Divider(f.shape.s), moments);
  if (error != cudaSuccess || !f.running_mean) return error;
  return launch(running_kernel<T>, blocks_of_channels(f.shape.c), dim3(kThreads), 0, stream, f,
                static_cast<const double*>(moments));
}

template <class T>
cudaError_t group_norm_backward(const GroupNormBackward<T>& b, void* scratch, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  const i64 size = piece_size(b.shape, b.groups), pieces = b.shape.n * b.groups;
  if (b.dx && pieces * size > 0) {
    error = launch_rows<T>(pieces, size, stream, held_backward_kernel<32, T>, held_backward_kernel<kThreads, T>,
                           backward_kernel<T>, b, size, Divider(b.shape.s));
  }
  if (error != cudaSuccess || !(b.dweight || b.dbias)) return error;
  const ChannelPlan plan(b.shape);
  BatchNormSums* const sums = static_cast<BatchNormSums*>(scratch);
  error = gather<BatchNormSums>(plan, stream, sums_kernel<T>, b, plan.lanes, sums);
  if (error != cudaSuccess) return error;
  return launch(finish_kernel<T>, blocks_of_channels(b.shape.c), dim3(kThreads), 0, stream, b, plan.pieces,
                static_cast<const BatchNormSums*>(sums));
}

template cudaError_t group_norm_forward(const GroupNormForward<float>&, void*, cudaStream_t);
template cudaError_t group_norm_forward(const GroupNormForward<double>&, void*, cudaStream_t);
template cudaError_t group_norm_forward(const GroupNormForward<Half>&, void*, cudaStream_t);
template cudaError_t group_norm_forward(const GroupNormForward<Bfloat16>&, void*, cudaStream_t);
template cudaError_t group_norm_backward(const GroupNormBackward<float>&, void*, cudaStream_t);
template cudaError_t group_norm_backward(const GroupNormBackward<double>&, void*, cudaStream_t);
template cudaError_t group_norm_backward(const GroupNormBackward<Half>&, void*, cudaStream_t);
template cudaError_t group_norm_backward(const GroupNormBackward<Bfloat16>&, void*, cudaStream_t);

}  // namespace jadro::cuda
