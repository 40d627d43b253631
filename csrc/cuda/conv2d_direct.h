// The convolution of groups of few channels as a direct sum, and the gradient of the bias.
#pragma once

#include "cuda/channels.h"
#include "cuda/conv2d_pass.h"
#include "cuda/map.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

// A thread sums one result: of channel blockIdx.y, blockIdx.y + gridDim.y, ...
template <class T, class Result>
__global__ void direct_kernel(Conv2dPass p, Conv2dColumns<T> x, Conv2dFilters<T> w, Result y, i64 cells) {
  const i64 cell = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (cell >= cells) return;
  const SourceOffset begin = x.place(cell);
  for (i64 channel = blockIdx.y; channel < p.groups * p.out; channel += gridDim.y) {
    const i64 group = channel / p.out, out = channel % p.out;
    const T* const filter = w.data + group * p.w_group + out * p.w_out;
    Conv2dColumns<T> source = x;
    source.select(group);
    Sum<T> sum = 0;
    for (int c = 0; c < p.in; ++c) {
      for (int d = 0; d < p.d.taps; ++d) {
        for (int h = 0; h < p.h.taps; ++h) {
          const SourceOffset row{c * p.source_size(), p.d.first + d * p.d.apart, p.h.first + h * p.h.apart, p.w.first};
          const i64 element = w.element({c, d, h, 0});
          for (int v = 0; v < p.w.taps; ++v) {
            const SourceOffset tap{row.plane, row.d, row.h, row.w + v * p.w.apart};
            sum += static_cast<Sum<T>>(source.at(begin, tap)) * static_cast<Sum<T>>(filter[element + v * p.w.w_step]);
          }
        }
      }
    }
    Result result = y;
    result.select(group);
    result.put(result.place(cell), out, sum);
  }
}

// A block sums one element of dw, over all cells.
template <class T>
__global__ void direct_weight_kernel(Conv2dPass p, Conv2dTransposedColumns<T> x, Conv2dResults<T> dy, T* dw, i64 cells,
                                     i64 row_size) {
  const i64 element = blockIdx.x, channel = element / row_size, group = channel / p.out;
  x.select(group);
  dy.select(group);
  const SourceOffset tap = x.place(element % row_size);
  const i64 row = dy.place(channel % p.out);
  Sum<T> sum = 0;
  for (i64 cell = threadIdx.x; cell < cells; cell += kThreads) {
    sum += static_cast<Sum<T>>(dy.at(row, dy.step(cell))) * static_cast<Sum<T>>(x.at(tap, x.step(cell)));
  }
  sum = group_reduce<kThreads>(sum, Add{}, dynamic_shared<Sum<T>>());
  if (threadIdx.x == 0) dw[element] = static_cast<T>(sum);
}

// out[piece,oc]: sums of each channel of dy.
template <class T, int kRun>
__global__ void bias_kernel(ChannelShape b, int lanes, const T* dy, bool packed, Sum<T>* out) {
  const Place p = place_of(b, lanes);
  Sum<T> sum = 0;
  if (p.c < b.c) {
    for_items(b, p.c, p.item, p.end, p.step, [&](i64 at, i64) {
      if constexpr (kRun == 1) {
        sum += static_cast<Sum<T>>(dy[at]);
      } else {
        const Pack<T> pack = load_pack(dy + at * kRun, packed);
#pragma unroll
        for (int i = 0; i < kRun; ++i) sum += static_cast<Sum<T>>(pack.v[i]);
      }
    });
  }
  join_block(sum, lanes, p.c, b.c, out, Add{});
}

template <class T>
__global__ void finish_bias_kernel(i64 oc, i64 pieces, const Sum<T>* sums, T* db) {
  const i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= oc) return;
  Sum<T> sum = 0;
  for (i64 piece = 0; piece < pieces; ++piece) sum += sums[piece * oc + c];
  db[c] = static_cast<T>(sum);
}

// Elements of scratch memory, whatever the runs that the dtype allows.
inline i64 bias_scratch(i64 n, i64 oc, i64 size) {
  i64 pieces = 1;
  for (i64 run = 1; run <= 8 && size % run == 0; run *= 2) {
    const ChannelPlan plan({n, oc, size / run});
    if (plan.pieces > pieces) pieces = plan.pieces;
  }
  return pieces * oc;
}

// db[oc] from dy[n,oc,size], in runs of 16 bytes where planes have whole ones.
template <class T>
cudaError_t bias_gradient(i64 n, i64 oc, i64 size, const T* dy, T* db, Sum<T>* scratch, cudaStream_t stream) {
  constexpr int kRun = Pack<T>::kSize;
  const bool in_runs = size % kRun == 0;
  const ChannelShape b{n, oc, in_runs ? size / kRun : size};
  const ChannelPlan plan(b);
  const cudaError_t error = gather<Sum<T>>(plan, stream, in_runs ? bias_kernel<T, kRun> : bias_kernel<T, 1>, b,
                                           plan.lanes, dy, on_packs(dy), scratch);
  if (error != cudaSuccess) return error;
  return launch(finish_bias_kernel<T>, dim3(static_cast<unsigned>(ceil_div(oc, kThreads))), dim3(kThreads), 0, stream,
                oc, plan.pieces, static_cast<const Sum<T>*>(scratch), db);
}

}  // namespace
}  // namespace jadro::cuda
