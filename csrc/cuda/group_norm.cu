// Normalisation of the groups of each row: a warp a piece [n,group], whose numbers are neighbours, or a block where it
// is long. Sums are double.
#include <cmath>

#include "cuda/channels.h"
#include "cuda/group_norm.h"
#include "cuda/math.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

constexpr i64 kLong = 1024;

i64 piece_size(const ChannelShape& b, i64 groups) { return b.c / groups * b.s; }

// f(piece, its first element, the thread's place in the group) for the pieces of a group of kGroup threads.
template <int kGroup, class F>
__device__ void for_pieces(i64 pieces, i64 size, F f) {
  constexpr int kGroups = kThreads / kGroup;
  const int group = static_cast<int>(threadIdx.x) / kGroup, place = static_cast<int>(threadIdx.x) % kGroup;
  const i64 step = static_cast<i64>(gridDim.x) * kGroups;
  for (i64 p = static_cast<i64>(blockIdx.x) * kGroups + group; p < pieces; p += step) f(p, p * size, place);
}

// y, and mean and sum of squared distances of each piece to `moments`, where they are wanted.
template <int kGroup, class T>
__global__ void forward_kernel(GroupNormForward<T> f, i64 size, double* moments) {
  double* const shared = dynamic_shared<double>();
  for_pieces<kGroup>(f.shape.n * f.groups, size, [&](i64 p, i64 first, int place) {
    double sum = 0, squares = 0;
    for (i64 i = place; i < size; i += kGroup) sum += f.x[first + i];
    const double mean = group_reduce<kGroup>(sum, Add{}, shared) / static_cast<double>(size);
    for (i64 i = place; i < size; i += kGroup) {
      const double d = f.x[first + i] - mean;
      squares += d * d;
    }
    squares = group_reduce<kGroup>(squares, Add{}, shared);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(size) + f.eps);
    const T mean_t = static_cast<T>(mean);
    if (place == 0) {
      f.save_mean[p] = mean_t;
      f.save_rstd[p] = static_cast<T>(rstd);
      if (f.running_mean) moments[2 * p] = mean, moments[2 * p + 1] = squares;
    }
    for (i64 i = place; i < size; i += kGroup) {
      const i64 c = (first + i) / f.shape.s % f.shape.c;
      const T scale = static_cast<T>(f.weight ? rstd * f.weight[c] : rstd);
      // What the rounding of the mean took away goes into the bias.
      const T bias = static_cast<T>((f.bias ? f.bias[c] : 0.0) - (mean - mean_t) * scale);
      f.y[first + i] = (f.x[first + i] - mean_t) * scale + bias;
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
  f.running_mean[c] = static_cast<T>(f.running_mean[c] + f.momentum * (mean - f.running_mean[c]));
  f.running_var[c] = static_cast<T>(f.running_var[c] + f.momentum * (var - f.running_var[c]));
}

// dx = (g - mean(g) - xhat mean(g xhat)) rstd with g = dy weight
template <int kGroup, class T>
__global__ void backward_kernel(GroupNormBackward<T> b, i64 size) {
  double* const shared = dynamic_shared<double>();
  for_pieces<kGroup>(b.shape.n * b.groups, size, [&](i64 p, i64 first, int place) {
    const T mean = b.save_mean[p], rstd = b.save_rstd[p];
    const auto gradient = [&](i64 i) { return b.weight ? product(b.dy[i], b.weight[i / b.shape.s % b.shape.c]) : b.dy[i]; };
    double sum = 0, sum_x = 0;
    for (i64 i = first + place; i < first + size; i += kGroup) {
      const double g = gradient(i);
      sum += g;
      sum_x += g * (b.x[i] - mean);
    }
    const double count = static_cast<double>(size), factor = rstd;
    const T shift = static_cast<T>(group_reduce<kGroup>(sum, Add{}, shared) / count);
    const T slope = static_cast<T>(group_reduce<kGroup>(sum_x, Add{}, shared) / count * factor * factor);
    for (i64 i = first + place; i < first + size; i += kGroup) {
      b.dx[i] = (gradient(i) - shift - (b.x[i] - mean) * slope) * rstd;
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
      const double g = b.dy[at];
      mine.dy += g;
      mine.dy_x += g * (b.x[at] - b.save_mean[piece]) * b.save_rstd[piece];
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
  if (b.dweight) b.dweight[c] = static_cast<T>(total.dy_x);
  if (b.dbias) b.dbias[c] = static_cast<T>(total.dy);
}

template <class Kernel, class... Arguments>
cudaError_t run_pieces(const ChannelShape& b, i64 groups, cudaStream_t stream, Kernel warp, Kernel block,
                       Arguments... arguments) {
  const i64 size = piece_size(b, groups), pieces = b.n * groups;
  if (pieces * size == 0) return cudaSuccess;
  const bool is_long = size > kLong;
  return launch(is_long ? block : warp, dim3(blocks_for(pieces * (is_long ? kThreads : 32))), dim3(kThreads),
                kThreads / 32 * sizeof(double), stream, arguments...);
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
  const cudaError_t error = run_pieces(f.shape, f.groups, stream, forward_kernel<32, T>, forward_kernel<kThreads, T>, f,
                                       piece_size(f.shape, f.groups), moments);
  if (error != cudaSuccess || !f.running_mean || f.shape.n == 0) return error;
  return launch(running_kernel<T>, blocks_of_channels(f.shape.c), dim3(kThreads), 0, stream, f,
                static_cast<const double*>(moments));
}

template <class T>
cudaError_t group_norm_backward(const GroupNormBackward<T>& b, void* scratch, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  if (b.dx) {
    error = run_pieces(b.shape, b.groups, stream, backward_kernel<32, T>, backward_kernel<kThreads, T>, b,
                       piece_size(b.shape, b.groups));
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
template cudaError_t group_norm_backward(const GroupNormBackward<float>&, void*, cudaStream_t);
template cudaError_t group_norm_backward(const GroupNormBackward<double>&, void*, cudaStream_t);

}  // namespace jadro::cuda
