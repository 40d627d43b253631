// Recurrent layers: the input's projections of all steps as one product, the time loop of rnn_loop.h, and the gradients
// of the weights as products over all steps.
#include <type_traits>

#include "cuda/dropout.h"
#include "cuda/gemm.h"
#include "cuda/rnn.h"
#include "cuda/rnn_loop.h"

namespace jadro::cuda {
namespace {

// f(cell type) for the cell of a stack.
template <class T, class F>
cudaError_t with_cell(Cell cell, F f) {
  if (cell == Cell::kLstm) return f(LstmCell<T>{});
  if (cell == Cell::kGru) return f(GruCell<T>{});
  if (cell == Cell::kRnnRelu) return f(RnnCell<T, true>{});
  return f(RnnCell<T, false>{});
}

// Where the pieces of `reserve` stand: for each layer and direction what the cell saves and the cell states; then, but
// for the last layer, whose output is y, the layer's output and the same after dropout.
struct Reserve {
  i64 saved, cells, direction, output, dropped, layer, directions, layers;

  template <class T>
  explicit Reserve(const RnnStack<T>& s) : directions(s.directions), layers(s.layers) {
    const i64 states = s.tokens() * s.hidden;
    saved = states * s.saved();
    cells = s.cell == Cell::kLstm ? states : 0;
    direction = saved + cells;
    output = states * s.directions;
    dropped = s.dropout > 0 ? output : 0;
    layer = s.directions * direction + output + dropped;
  }
  i64 total() const { return layers * layer - output - dropped; }
  i64 saved_at(i64 l, i64 d) const { return l * layer + d * direction; }
  i64 output_at(i64 l) const { return l * layer + directions * direction; }
  i64 next_input_at(i64 l) const { return output_at(l) + dropped; }
};

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
  template <class T>
  void copy(T* to, const T* from, i64 n) {
    if (n == 0) return;
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    run([&] {
      return from ? cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_)
                  : cudaMemsetAsync(to, 0, bytes, stream_);
    });
  }
  template <class T>
  void product(const Gemm<T>& g, T* scratch = nullptr) {
    run([&] { return gemm(g, scratch, stream_); });
  }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

// How the persistent kernel shares out the units.
struct LoopGrid {
  i64 units, blocks;
};
template <class T>
LoopGrid loop_grid(const RnnStack<T>& s) {
  int device = 0, processors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const i64 most = processors > 0 ? processors : 1, units = ceil_div(s.hidden, most);
  return {units, ceil_div(s.hidden, units)};
}
// Of the forward and the backward kernel, the larger.
template <class T>
std::size_t loop_shared(const RnnStack<T>& s, i64 units) {
  const std::size_t forward = LoopShape<T>::shared(units * s.gates(), s.hidden);
  const std::size_t backward = LoopShape<T>::shared(units, s.gates() * s.hidden);
  return forward > backward ? forward : backward;
}
template <class T>
bool runs_persistent(const RnnStack<T>& s) {
  return s.algorithm == RnnAlgorithm::kAuto ? rnn_is_persistent(s) : s.algorithm == RnnAlgorithm::kPersistent;
}

template <class T>
void forward_loop(const RnnStack<T>& s, const RnnForward<T>& a, T* rec, Queue& queue) {
  queue.run([&] {
    return with_cell<T>(s.cell, [&](auto cell) {
      using C = decltype(cell);
      if (runs_persistent(s)) {
        const LoopGrid grid = loop_grid(s);
        return launch_together(forward_loop_kernel<T, C>, dim3(static_cast<unsigned>(grid.blocks)), dim3(kThreads),
                               loop_shared(s, grid.units), queue.stream(), a, static_cast<int>(grid.units));
      }
      const i64 H = s.hidden, GH = s.gates() * H;
      for (i64 step = 0; step < s.steps; ++step) {
        const i64 before = s.batch * a.y_row * (a.reverse ? s.steps - step : step - 1);
        Gemm<T> g{s.batch, GH,      H,    step == 0 ? a.h0 : a.y + before, step == 0 ? H : a.y_row, 1, a.u, 1, H, rec,
                  GH,      nullptr, false};
        queue.product(g);
        queue.run([&] {
          return launch(forward_step_kernel<T, C>, dim3(blocks_for(s.batch * H)), dim3(kThreads), 0, queue.stream(), a,
                        step, static_cast<const T*>(rec));
        });
      }
      return queue.error();
    });
  });
}

template <class T>
void backward_loop(const RnnStack<T>& s, const RnnBackward<T>& a, Queue& queue) {
  if (s.batch == 0) return;  // the gradients of the weights are 0 all the same
  queue.run([&] {
    return with_cell<T>(s.cell, [&](auto cell) {
      using C = decltype(cell);
      if (runs_persistent(s)) {
        const LoopGrid grid = loop_grid(s);
        return launch_together(backward_loop_kernel<T, C>, dim3(static_cast<unsigned>(grid.blocks)), dim3(kThreads),
                               loop_shared(s, grid.units), queue.stream(), a, static_cast<int>(grid.units));
      }
      const i64 H = s.hidden, row = s.grads() * H;
      for (i64 step = 0; step < s.steps; ++step) {
        const i64 t = a.reverse ? step : s.steps - 1 - step;
        queue.run([&] {
          return launch(backward_step_kernel<T, C>, dim3(blocks_for(s.batch * H)), dim3(kThreads), 0, queue.stream(), a,
                        step);
        });
        queue.product(
            Gemm<T>{s.batch, H, s.gates() * H, a.da + t * s.batch * row, row, 1, a.u, H, 1, a.dh, H, nullptr, true});
      }
      return queue.error();
    });
  });
}

// out = ih + hh, but for the GRU's n, whose b'_n stands apart.
template <class T>
__global__ void add_biases_kernel(const T* ih, const T* hh, i64 size, i64 summed, T* out) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < size) out[i] = i < summed ? ih[i] + hh[i] : ih[i];
}

constexpr int kSumColumns = 32;

// out[columns] = sums over the rows of a; a block takes 32 columns, its warps every eighth row.
template <class T>
__global__ void sum_rows_kernel(const T* a, i64 rows, i64 row_size, i64 columns, T* out) {
  T* const shared = dynamic_shared<T>();
  const int t = static_cast<int>(threadIdx.x), lane = t % kSumColumns;
  const i64 column = static_cast<i64>(blockIdx.x) * kSumColumns + lane;
  T sum = 0;
  if (column < columns) {
    for (i64 row = t / kSumColumns; row < rows; row += kThreads / kSumColumns) sum += a[row * row_size + column];
  }
  shared[t] = sum;
  __syncthreads();
  if (t >= kSumColumns || column >= columns) return;
  for (int warp = 1; warp < kThreads / kSumColumns; ++warp) sum += shared[warp * kSumColumns + lane];
  out[column] = sum;
}

template <class T>
void sum_rows(const T* a, i64 rows, i64 row_size, i64 columns, T* out, Queue& queue) {
  queue.run([&] {
    return launch(sum_rows_kernel<T>, dim3(static_cast<unsigned>(ceil_div(columns, kSumColumns))), dim3(kThreads),
                  kThreads * sizeof(T), queue.stream(), a, rows, row_size, columns, out);
  });
}

// Hands out pieces of scratch memory; without any it counts them.
template <class T>
struct Space {
  T* base;
  i64 used = 0;

  T* take(i64 n) {
    T* const piece = base ? base + used : nullptr;
    used += n;
    return piece;
  }
};

// Of one direction forward: projections, biases, products of a step, and zeros for a missing h0. Inference keeps the
// outputs of two layers at a time.
template <class T>
struct ForwardScratch {
  T *in, *bias, *rec, *zeros, *outputs;

  ForwardScratch(const RnnStackForward<T>& call, Space<T>& space) {
    const RnnStack<T>& s = call.stack;
    const i64 GH = s.gates() * s.hidden;
    in = space.take(s.tokens() * GH);
    bias = space.take(GH);
    rec = space.take(s.batch * GH);
    zeros = space.take(s.batch * s.hidden);
    outputs = space.take(call.reserve || s.layers == 1 ? 0 : 2 * Reserve(s).output);
  }
};

template <class T>
void forward_direction(const RnnStackForward<T>& call, i64 layer, i64 d, const T* x, T* y,
                       const ForwardScratch<T>& scratch, Queue& queue) {
  const RnnStack<T>& s = call.stack;
  const i64 H = s.hidden, I = s.layer_input(layer), GH = s.gates() * H, index = layer * s.directions + d;
  const i64 state = index * s.batch * H;
  const T* const* w = s.weights + index * s.weights_per_cell();
  const bool gru = s.cell == Cell::kGru;
  if (s.bias) {
    queue.run([&] {
      return launch(add_biases_kernel<T>, dim3(static_cast<unsigned>(ceil_div(GH, kThreads))), dim3(kThreads), 0,
                    queue.stream(), w[2], w[3], GH, gru ? 2 * H : GH, scratch.bias);
    });
  }
  queue.product(
      Gemm<T>{s.tokens(), GH, I, x, I, 1, w[0], 1, I, scratch.in, GH, s.bias ? scratch.bias : nullptr, false});

  RnnForward<T> a{};
  a.steps = s.steps, a.batch = s.batch, a.hidden = H, a.y_row = s.directions * H, a.reverse = d == 1;
  a.in = scratch.in;
  a.u = w[1];
  a.bias_n = s.bias && gru ? w[3] + 2 * H : nullptr;
  a.h0 = s.h0 ? s.h0 + state : scratch.zeros;
  a.y = y + d * H;
  if (s.cell == Cell::kLstm) {
    a.cn = call.cn + state;
    queue.copy(a.cn, s.c0 ? s.c0 + state : nullptr, s.batch * H);
  }
  if (call.reserve) {
    const Reserve r(s);
    a.saved = call.reserve + r.saved_at(layer, d);
    a.cells = a.saved + r.saved;
  }
  forward_loop(s, a, scratch.rec, queue);
  const T* last = a.y + (a.reverse ? 0 : s.steps - 1) * s.batch * a.y_row;
  queue.run([&] {
    return cudaMemcpy2DAsync(call.hn + state, H * sizeof(T), last, a.y_row * sizeof(T), H * sizeof(T), s.batch,
                             cudaMemcpyDeviceToDevice, queue.stream());
  });
}

// The most that cutting the products of the gradients of the weights along the steps needs.
template <class T>
i64 weight_scratch(const RnnStack<T>& s) {
  const i64 GH = s.gates() * s.hidden;
  const i64 heights[] = {GH, s.hidden, 2 * s.hidden};  // of the matrices that are multiplied
  i64 most = gemm_scratch<T>(GH, s.hidden, s.tokens());
  for (i64 layer = 0; layer < s.layers; ++layer) {
    for (i64 rows : heights) {
      const i64 bytes = gemm_scratch<T>(rows, s.layer_input(layer), s.tokens());
      most = bytes > most ? bytes : most;
    }
  }
  return most / static_cast<i64>(sizeof(T));
}

// Of one direction backward: dh, dc and zeros [N,H], da [T,N,kGrads,H], what cut products need; and the gradients of
// the outputs of two neighbouring layers.
template <class T>
struct BackwardScratch {
  T *dh, *dc, *zeros, *da, *product, *outputs;

  BackwardScratch(const RnnStackBackward<T>& call, Space<T>& space) {
    const RnnStack<T>& s = call.stack;
    const i64 states = s.batch * s.hidden;
    dh = space.take(states);
    dc = space.take(states);
    zeros = space.take(states);
    da = space.take(s.tokens() * s.grads() * s.hidden);
    product = space.take(weight_scratch(s));
    outputs = space.take(s.layers > 1 ? 2 * Reserve(s).output : 0);
  }
};

// dw = da^T x over `depth` tokens, for rows of da.
template <class T>
void weight_gradient(const T* da, i64 da_row, i64 rows, const T* x, i64 x_row, i64 depth, i64 columns, bool add, T* dw,
                     T* scratch, Queue& queue) {
  const bool split = gemm_scratch<T>(rows, columns, depth) > 0;
  queue.product(Gemm<T>{rows, columns, depth, da, 1, da_row, x, x_row, 1, dw, columns, nullptr, add},
                split ? scratch : nullptr);
}

template <class T>
void weight_gradients(const RnnStack<T>& s, i64 layer, bool reverse, const T* x, const T* y, const T* h0, T* const* dw,
                      const BackwardScratch<T>& scratch, Queue& queue) {
  const i64 H = s.hidden, GH = s.gates() * H, I = s.layer_input(layer), tokens = s.tokens(), row = s.grads() * H;
  const i64 y_row = s.directions * H;
  const T* const da = scratch.da;
  T* const space = scratch.product;
  const bool gru = s.cell == Cell::kGru;
  const i64 together = gru ? 2 * H : GH;  // the GRU's da is r z m n: n goes to the input's side
  weight_gradient(da, row, together, x, I, tokens, I, false, dw[0], space, queue);
  if (gru) weight_gradient(da + 3 * H, row, H, x, I, tokens, I, false, dw[0] + together * I, space, queue);
  // h of the step before: y one step off, and h0 at the first step.
  const T* const first = da + (reverse ? tokens - s.batch : 0) * row;
  weight_gradient(first, row, GH, h0, H, s.batch, H, false, dw[1], space, queue);
  const T* const later = da + (reverse ? 0 : s.batch * row);
  const T* const before = y + (reverse ? s.batch * y_row : 0);
  if (s.steps > 1) weight_gradient(later, row, GH, before, y_row, tokens - s.batch, H, true, dw[1], space, queue);
  if (!s.bias) return;
  sum_rows(da, tokens, row, together, dw[2], queue);
  if (gru) sum_rows(da + 3 * H, tokens, row, H, dw[2] + together, queue);
  sum_rows(da, tokens, row, GH, dw[3], queue);
}

template <class T>
void input_gradient(const RnnStack<T>& s, i64 layer, const T* da, const T* w_ih, bool add, T* dx, Queue& queue) {
  const i64 H = s.hidden, I = s.layer_input(layer), row = s.grads() * H;
  const bool gru = s.cell == Cell::kGru;
  const i64 together = gru ? 2 * H : s.gates() * H;
  queue.product(Gemm<T>{s.tokens(), I, together, da, row, 1, w_ih, I, 1, dx, I, nullptr, add});
  if (gru)
    queue.product(Gemm<T>{s.tokens(), I, H, da + 3 * H, row, 1, w_ih + together * I, I, 1, dx, I, nullptr, true});
}

template <class T>
void backward_direction(const RnnStackBackward<T>& call, i64 layer, i64 d, const T* x, const T* y, const T* dy, T* dx,
                        const BackwardScratch<T>& scratch, Queue& queue) {
  const RnnStack<T>& s = call.stack;
  const i64 H = s.hidden, states = s.batch * H, index = layer * s.directions + d, state = index * states;
  const T* const* w = s.weights + index * s.weights_per_cell();
  const Reserve r(s);
  const bool lstm = s.cell == Cell::kLstm;
  RnnBackward<T> a{};
  a.steps = s.steps, a.batch = s.batch, a.hidden = H, a.y_row = s.directions * H, a.reverse = d == 1;
  a.u = w[1];
  a.h0 = s.h0 ? s.h0 + state : scratch.zeros;
  a.c0 = s.c0 ? s.c0 + state : scratch.zeros;
  a.y = y + d * H;
  a.saved = call.reserve + r.saved_at(layer, d);
  a.cells = a.saved + r.saved;
  a.dy = dy ? dy + d * H : nullptr;
  a.dh = scratch.dh;
  a.dc = scratch.dc;
  a.da = scratch.da;
  queue.copy(a.dh, call.dhn ? call.dhn + state : nullptr, states);
  if (lstm) queue.copy(a.dc, call.dcn ? call.dcn + state : nullptr, states);
  backward_loop(s, a, queue);
  if (call.dh0) queue.copy(call.dh0 + state, static_cast<const T*>(a.dh), states);
  if (lstm && call.dc0) queue.copy(call.dc0 + state, static_cast<const T*>(a.dc), states);
  if (dx) input_gradient(s, layer, scratch.da, w[0], d == 1, dx, queue);
  if (!call.dweights) return;
  weight_gradients(s, layer, a.reverse, x, a.y, a.h0, call.dweights + index * s.weights_per_cell(), scratch, queue);
}

}  // namespace

template <class T>
i64 rnn_reserve_size(const RnnStack<T>& stack) {
  return Reserve(stack).total();
}

template <class T>
bool rnn_is_persistent(const RnnStack<T>& stack) {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return loop_shared(stack, loop_grid(stack).units) <= static_cast<std::size_t>(most);
}

template <class T>
i64 rnn_forward_scratch(const RnnStackForward<T>& call) {
  Space<T> space{nullptr};
  ForwardScratch<T>(call, space);
  return space.used;
}

template <class T>
i64 rnn_backward_scratch(const RnnStackBackward<T>& call) {
  Space<T> space{nullptr};
  BackwardScratch<T>(call, space);
  return space.used;
}

template <class T>
cudaError_t rnn_forward(const RnnStackForward<T>& call, T* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  if (s.batch == 0) return cudaSuccess;
  const Reserve r(s);
  Space<T> space{scratch_memory};
  const ForwardScratch<T> scratch(call, space);
  Queue queue(stream);
  queue.copy(scratch.zeros, static_cast<const T*>(nullptr), s.batch * s.hidden);
  const T* x = s.x;
  for (i64 layer = 0; layer < s.layers; ++layer) {
    const bool last = layer == s.layers - 1;
    T* const kept = call.reserve ? call.reserve + r.output_at(layer) : scratch.outputs + layer % 2 * r.output;
    T* y = last ? call.y : kept;
    for (i64 d = 0; d < s.directions; ++d) forward_direction(call, layer, d, x, y, scratch, queue);
    if (!last && s.dropout > 0) {
      T* const dropped = call.reserve ? y + r.output : y;
      queue.run([&] {
        return dropout(static_cast<const T*>(y), dropped, r.output, s.dropout, s.seed, s.offset + layer * r.output,
                       stream);
      });
      y = dropped;
    }
    x = y;
  }
  return queue.error();
}

template <class T>
cudaError_t rnn_backward(const RnnStackBackward<T>& call, T* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  const Reserve r(s);
  Space<T> space{scratch_memory};
  const BackwardScratch<T> scratch(call, space);
  Queue queue(stream);
  queue.copy(scratch.zeros, static_cast<const T*>(nullptr), s.batch * s.hidden);
  const T* dy = call.dy;
  for (i64 layer = s.layers - 1; layer >= 0; --layer) {
    const T* below = layer == 0 ? s.x : call.reserve + r.next_input_at(layer - 1);
    const T* y = layer == s.layers - 1 ? call.y : call.reserve + r.output_at(layer);
    T* dx = layer == 0 ? call.dx : scratch.outputs + layer % 2 * r.output;
    for (i64 d = 0; d < s.directions; ++d) backward_direction(call, layer, d, below, y, dy, dx, scratch, queue);
    if (layer > 0 && s.dropout > 0) {
      queue.run([&] {
        return dropout(static_cast<const T*>(dx), dx, r.output, s.dropout, s.seed, s.offset + (layer - 1) * r.output,
                       stream);
      });
    }
    dy = dx;
  }
  return queue.error();
}

template i64 rnn_reserve_size(const RnnStack<float>&);
template i64 rnn_reserve_size(const RnnStack<double>&);
template bool rnn_is_persistent(const RnnStack<float>&);
template bool rnn_is_persistent(const RnnStack<double>&);
template i64 rnn_forward_scratch(const RnnStackForward<float>&);
template i64 rnn_forward_scratch(const RnnStackForward<double>&);
template i64 rnn_backward_scratch(const RnnStackBackward<float>&);
template i64 rnn_backward_scratch(const RnnStackBackward<double>&);
template cudaError_t rnn_forward(const RnnStackForward<float>&, float*, cudaStream_t);
template cudaError_t rnn_forward(const RnnStackForward<double>&, double*, cudaStream_t);
template cudaError_t rnn_backward(const RnnStackBackward<float>&, float*, cudaStream_t);
template cudaError_t rnn_backward(const RnnStackBackward<double>&, double*, cudaStream_t);

}  // namespace jadro::cuda
