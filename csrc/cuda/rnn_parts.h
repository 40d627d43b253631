// What the calls of recurrent layers with and without options share: the reserve, scratch memory, biases and sums.
#pragma once

#include <type_traits>

#include "core/kernel_table.h"
#include "cuda/gemm.h"
#include "cuda/launch.h"
#include "cuda/rnn.h"
#include "cuda/rnn_loop.h"
#include "cuda/rnn_plan.h"

namespace jadro::cuda {
namespace {

// Where the pieces of `reserve` stand: for each layer and direction what the cell saves, the cell states and, of layer
// norm, W x, U h and their moments; then the layer's output, where it is not y itself, and the same after dropout.
struct Reserve {
  i64 saved, cells, raw, stats, direction, output, dropped, layer, directions, layers;
  bool keeps_last;

  Reserve(const RnnSizes& s, bool options, bool ragged, i64 tokens)
      : directions(s.directions), layers(s.layers), keeps_last(ragged) {
    const i64 states = tokens * s.hidden, gates = s.gates();
    const i64 each = s.cell == Cell::kGru ? 4 : gates > 1 ? gates : options;  // numbers that a unit keeps
    const bool normed = s.settings.layer_norm;
    saved = states * each;
    cells = is_lstm(s.cell) ? states : 0;
    raw = normed ? states * gates : 0;
    stats = normed ? tokens * kRnnStats : 0;
    direction = saved + cells + 2 * raw + stats;
    output = tokens * s.directions * s.output;
    dropped = s.dropout > 0 ? output : 0;
    layer = s.directions * direction + output + dropped;
  }
  template <class T>
  explicit Reserve(const RnnStack<T>& s) : Reserve(s, s.rows != nullptr, s.ragged(), s.tokens()) {}
  i64 total() const { return layers * layer - (keeps_last ? 0 : output) - dropped; }
  i64 saved_at(i64 l, i64 d) const { return l * layer + d * direction; }
  i64 output_at(i64 l) const { return l * layer + directions * direction; }
  i64 next_input_at(i64 l) const { return output_at(l) + dropped; }
};

template <class To, class From>
__global__ void convert_kernel(const From* from, i64 n, To* to) {
  const i64 step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    to[i] = static_cast<To>(number(from[i]));
  }
}

// The outputs of a layer, which stand in the reserve in the place of as many sums.
template <class T>
T* outputs_in(Sum<T>* reserve, i64 at) {
  return reinterpret_cast<T*>(reserve + at);
}
template <class T>
const T* outputs_in(const Sum<T>* reserve, i64 at) {
  return reinterpret_cast<const T*>(reserve + at);
}

// Enqueues one thing after the other, until one fails.
class Queue {
 public:
  explicit Queue(cudaStream_t stream) : stream_(stream) {}
  cudaStream_t stream() const { return stream_; }
  cudaError_t error() const { return error_; }

  template <class Work>
  void run(Work work) {
    if (error_ == cudaSuccess) error_ = work();
  }
  // to[n] = from[n], or 0 where it is null.
  template <class To, class From>
  void copy(To* to, const From* from, i64 n) {
    if (n == 0) return;
    if (!from) return zero(to, n);
    run([&] {
      if constexpr (std::is_same_v<To, From>) {
        return cudaMemcpyAsync(to, from, static_cast<std::size_t>(n) * sizeof(To), cudaMemcpyDeviceToDevice, stream_);
      } else {
        return launch(convert_kernel<To, From>, dim3(blocks_for(n)), dim3(kThreads), 0, stream_, from, n, to);
      }
    });
  }
  template <class T>
  void zero(T* to, i64 n) {
    if (n == 0) return;
    run([&] { return cudaMemsetAsync(to, 0, static_cast<std::size_t>(n) * sizeof(T), stream_); });
  }
  template <class T, class Result>
  void product(const Gemm<T, Result>& g, void* scratch = nullptr) {
    run([&] { return gemm(g, scratch, stream_); });
  }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

// Hands out pieces of scratch memory, which begin on 16 bytes; without any it counts their bytes.
struct Space {
  void* base;
  i64 used = 0;

  template <class T>
  void take(T*& piece, i64 n) {
    piece = base ? reinterpret_cast<T*>(static_cast<unsigned char*>(base) + used) : nullptr;
    used += ceil_div(n * static_cast<i64>(sizeof(T)), 16) * 16;
  }
};

// The array itself where it holds sums, else `room` of its size.
template <class T>
Sum<T>* sums_in(T* array, Sum<T>* room) {
  if constexpr (std::is_same_v<T, Sum<T>>) {
    return array;
  } else {
    return room;
  }
}

template <class T>
LoopPlan forward_plan(const RnnStack<T>& s) {
  return plan_loop<T>(s.hidden, s.batch, s.gates(), s.hidden);
}
template <class T>
LoopPlan backward_plan(const RnnStack<T>& s) {
  return plan_loop<T>(s.hidden, s.batch, 1, s.gates() * s.hidden);
}
template <class T>
bool runs_persistent(const RnnStack<T>& s) {
  return s.algorithm == RnnAlgorithm::kAuto ? rnn_is_persistent(s) : s.algorithm == RnnAlgorithm::kPersistent;
}

// A number for each block of a persistent kernel.
constexpr i64 kMostLoopBlocks = 1024;

// All steps in one launch of kernel_of(tile): whether that is how the call runs. A card that is shared may have no room
// for all blocks at once; then kAuto goes by steps.
template <class T, class Args, class KernelOf>
bool runs_all_steps(const RnnStack<T>& s, LoopPlan plan, const Args& a, unsigned* flags, Queue& queue,
                    KernelOf kernel_of) {
  if (!runs_persistent(s)) return false;
  plan.grid.flags = flags;
  const i64 blocks = plan.grid.blocks();
  queue.run([&] { return cudaMemsetAsync(flags, 0, blocks * sizeof(unsigned), queue.stream()); });
  if (queue.error() != cudaSuccess) return true;
  const cudaError_t error = with_tile<T>(plan.tile, [&](auto tile) {
    return launch_together(kernel_of(tile), dim3(static_cast<unsigned>(blocks)), dim3(kThreads), plan.shared,
                           queue.stream(), a, plan.grid);
  });
  if (error == cudaErrorCooperativeLaunchTooLarge && s.algorithm == RnnAlgorithm::kAuto) {
    cudaGetLastError();  // the runtime forgets it
    return false;
  }
  queue.run([=] { return error; });
  return true;
}

// out: the biases of the input's side, b_ih + b_hh and those of layer norm; but for the first `summed` of them those of
// the state's side stand apart. Null pointers leave theirs out.
template <class T>
__global__ void add_biases_kernel(const T* ih, const T* hh, const T* norm_ih, const T* norm_hh, i64 size, i64 summed,
                                  Sum<T>* out, Sum<T>* apart) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size) return;
  const auto at = [&](const T* bias) { return bias ? number(bias[i]) : Sum<T>(0); };
  const Sum<T> input = at(ih) + at(norm_ih), state = at(hh) + at(norm_hh);
  out[i] = i < summed ? input + state : input;
  if (i >= summed) apart[i - summed] = state;
}

constexpr int kSumColumns = 32;

// out[piece,columns] = sums over the piece's rows of f(row, column); a block takes 32 columns, its warps every eighth
// row.
template <class T, class F, class Out>
__global__ void sum_columns_kernel(i64 rows, i64 each, i64 columns, F f, Out* out) {
  T* const shared = dynamic_shared<T>();
  const int t = static_cast<int>(threadIdx.x), lane = t % kSumColumns;
  const i64 column = static_cast<i64>(blockIdx.x) * kSumColumns + lane, begin = blockIdx.y * each;
  const i64 end = min(begin + each, rows);
  T sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (i64 row = begin + t / kSumColumns; row < end; row += kThreads / kSumColumns) sum += f(row, column);
  }
  shared[t] = sum;
  __syncthreads();
  if (t >= kSumColumns || column >= columns) return;
  for (int warp = 1; warp < kThreads / kSumColumns; ++warp) sum += shared[warp * kSumColumns + lane];
  out[blockIdx.y * columns + column] = static_cast<Out>(sum);
}

// Pieces of the rows: enough blocks for the card, by the shape alone.
inline i64 sum_pieces(i64 rows, i64 columns) {
  constexpr i64 kLeast = 64;
  const i64 wanted = ceil_div(kFullGrid, ceil_div(columns, kSumColumns)), most = ceil_div(rows, kLeast);
  return wanted < most ? wanted : most > 0 ? most : 1;
}
// The most that the sums of all pieces take.
inline i64 sum_scratch(i64 columns) { return kSumColumns * kFullGrid + columns; }

template <class T>
struct Matrix {
  const T* a;
  i64 row_size;
  __device__ Sum<T> operator()(i64 row, i64 column) const { return number(a[row * row_size + column]); }
};

// scratch: sum_scratch(columns) sums.
template <class T, class F>
void sum_columns(i64 rows, i64 columns, F f, T* out, void* scratch, Queue& queue) {
  using S = Sum<T>;
  if (columns == 0) return;
  const i64 pieces = sum_pieces(rows, columns);
  const auto sum = [&](i64 from, i64 parts, auto term, auto* to) {
    queue.run([&] {
      const dim3 blocks(static_cast<unsigned>(ceil_div(columns, kSumColumns)), static_cast<unsigned>(parts));
      const auto kernel = sum_columns_kernel<S, decltype(term), std::remove_reference_t<decltype(*to)>>;
      return launch(kernel, blocks, dim3(kThreads), kThreads * sizeof(S), queue.stream(), from, ceil_div(from, parts),
                    columns, term, to);
    });
  };
  if (pieces == 1) return sum(rows, 1, f, out);
  S* const parts = static_cast<S*>(scratch);
  sum(rows, pieces, f, parts);
  sum(pieces, 1, Matrix<S>{parts, columns}, out);
}
// a is of the type of the result, or holds sums.
template <class A, class T>
void sum_rows(const A* a, i64 rows, i64 row_size, i64 columns, T* out, void* scratch, Queue& queue) {
  sum_columns(rows, columns, Matrix<A>{a, row_size}, out, scratch, queue);
}

// The most bytes that the gradients of the weights need: their products cut along the steps, or sums over the tokens.
template <class T>
i64 weight_scratch(const RnnStack<T>& s) {
  const i64 heights[] = {s.gates() * s.hidden, 2 * s.hidden, s.hidden,
                         s.output};  // of the matrices that are multiplied
  const i64 widths[] = {s.hidden, s.output, s.input, s.layer_input(1)};
  i64 most = 0;
  for (i64 rows : heights) {
    for (i64 columns : widths) {
      const i64 bytes = gemm_scratch<T>(rows, columns, s.tokens());
      most = bytes > most ? bytes : most;
    }
  }
  const i64 sums = sum_scratch(s.gates() * s.hidden) * static_cast<i64>(sizeof(Sum<T>));
  return most > sums ? most : sums;
}

// dw = da^T x over `depth` tokens, for rows of da.
template <class T>
void weight_gradient(const T* da, i64 da_row, i64 rows, const T* x, i64 x_row, i64 depth, i64 columns, bool add, T* dw,
                     void* scratch, Queue& queue) {
  const bool split = gemm_scratch<T>(rows, columns, depth) > 0;
  queue.product(Gemm<T>{rows, columns, depth, da, 1, da_row, x, x_row, 1, dw, columns, nullptr, add},
                split ? scratch : nullptr);
}

}  // namespace
}  // namespace jadro::cuda
