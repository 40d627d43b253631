// Sums over the channels of x[n,c,s], by pieces that the shape alone decides.
#pragma once

#include "cuda/launch.h"

namespace jadro::cuda {

constexpr i64 kPiece = 4 * kThreads;  // items of a channel that are worth a block
constexpr int kLanes = 32;            // channels that a block takes side by side where an image is one pixel

// How the sums of a channel are cut. With one pixel an image, neighbours in memory are channels: a block takes 32 of
// them; otherwise one.
struct ChannelPlan {
  i64 items, pieces, groups;
  int lanes;

  explicit ChannelPlan(const ChannelShape& b) : items(b.n * b.s), lanes(b.s == 1 ? kLanes : 1) {
    groups = ceil_div(b.c, lanes);
    const i64 wanted = ceil_div(kFullGrid, groups > 0 ? groups : 1), most = ceil_div(items * lanes, kPiece);
    pieces = wanted < most ? wanted : most;
    if (pieces < 1) pieces = 1;
  }
};

// Walks through the items of one channel from `item` on, `step` items at a time: f(offset in x, row n).
template <class F>
__device__ void for_items(const ChannelShape& b, i64 c, i64 item, i64 end, i64 step, F f) {
  i64 n = item / b.s, s = item % b.s;
  const i64 step_n = step / b.s, step_s = step % b.s;
#pragma unroll 4
  for (; item < end; item += step) {
    f((n * b.c + c) * b.s + s, n);
    n += step_n, s += step_s;
    if (s >= b.s) s -= b.s, ++n;
  }
}

// Joins the partial results of a block, a tree over the threads of each channel, and stores them.
template <class Sum, class Join>
__device__ void join_block(Sum mine, int lanes, i64 c, i64 channels, Sum* out, Join join) {
  Sum* const shared = dynamic_shared<Sum>();
  const int t = static_cast<int>(threadIdx.x);
  shared[t] = mine;
  __syncthreads();
  for (int half = kThreads / 2; half >= lanes; half /= 2) {
    if (t < half) shared[t] = join(shared[t], shared[t + half]);
    __syncthreads();
  }
  if (t < lanes && c < channels) out[blockIdx.y * channels + c] = shared[t];
}

struct Place {
  i64 c, item, end, step;
};

// Where this thread begins in its channel's piece, and how it goes on.
__device__ inline Place place_of(const ChannelShape& b, int lanes) {
  const i64 items = b.n * b.s, piece = (items + gridDim.y - 1) / gridDim.y, begin = blockIdx.y * piece;
  return {static_cast<i64>(blockIdx.x) * lanes + threadIdx.x % lanes, begin + threadIdx.x / lanes,
          min(begin + piece, items), kThreads / lanes};
}

// Runs a kernel that ends in join_block on all groups of channels and pieces.
template <class Sum, class Kernel, class... Arguments>
cudaError_t gather(const ChannelPlan& plan, cudaStream_t stream, Kernel kernel, Arguments... arguments) {
  return launch(kernel, dim3(static_cast<unsigned>(plan.groups), static_cast<unsigned>(plan.pieces)), dim3(kThreads),
                kThreads * sizeof(Sum), stream, arguments...);
}

}  // namespace jadro::cuda
