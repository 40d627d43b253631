// Recurrent layers: the input's projections of all steps as one product, the time loop of rnn_loop.h, and the gradients
// of the weights as products over all steps.
#include "cuda/dropout.h"
#include "cuda/rnn_parts.h"

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

template <class T>
void forward_loop(const RnnStack<T>& s, const RnnForward<T>& a, Sum<T>* rec, unsigned* flags, Queue& queue) {
  queue.run([&] {
    return with_cell<Sum<T>>(s.cell, [&](auto cell) {
      using C = decltype(cell);
      const auto kernel_of = [](auto tile) { return forward_loop_kernel<T, C, decltype(tile)>; };
      if (runs_all_steps(s, forward_plan(s), a, flags, queue, kernel_of)) return queue.error();
      const i64 H = s.hidden, GH = s.gates() * H;
      for (i64 step = 0; step < s.steps; ++step) {
        const i64 before = s.batch * a.y_row * (a.reverse ? s.steps - step : step - 1);
        Gemm<T, Sum<T>> g{
            s.batch, GH,      H,    step == 0 ? a.h0 : a.y + before, step == 0 ? H : a.y_row, 1, a.u, 1, H, rec,
            GH,      nullptr, false};
        queue.product(g);
        queue.run([&] {
          return launch(forward_step_kernel<T, C>, dim3(blocks_for(s.batch * H)), dim3(kThreads), 0, queue.stream(), a,
                        step, static_cast<const Sum<T>*>(rec));
        });
      }
      return queue.error();
    });
  });
}

template <class T>
void backward_loop(const RnnStack<T>& s, const RnnBackward<T>& a, unsigned* flags, Queue& queue) {
  if (s.batch == 0) return;  // the gradients of the weights are 0 all the same
  queue.run([&] {
    return with_cell<Sum<T>>(s.cell, [&](auto cell) {
      using C = decltype(cell);
      const auto kernel_of = [](auto tile) { return backward_loop_kernel<T, C, decltype(tile)>; };
      if (runs_all_steps(s, backward_plan(s), a, flags, queue, kernel_of)) return queue.error();
      const i64 H = s.hidden, row = s.grads() * H;
      for (i64 step = 0; step < s.steps; ++step) {
        const i64 t = a.reverse ? step : s.steps - 1 - step;
        queue.run([&] {
          return launch(backward_step_kernel<T, C>, dim3(blocks_for(s.batch * H)), dim3(kThreads), 0, queue.stream(), a,
                        step);
        });
        queue.product(Gemm<T, Sum<T>>{s.batch, H, s.gates() * H, a.da + t * s.batch * row, row, 1, a.u, H, 1, a.dh, H,
                                      nullptr, true});
      }
      return queue.error();
    });
  });
}

// Of one direction forward: projections, biases, products of a step, c, and zeros for a missing h0. Inference keeps the
// outputs of two layers at a time.
template <class T>
struct ForwardScratch {
  Sum<T>*in, *bias, *bias_n, *rec, *c;
  T *zeros, *outputs;
  unsigned* flags;

  ForwardScratch(const RnnStackForward<T>& call, Space& space) {
    const RnnStack<T>& s = call.stack;
    const i64 GH = s.gates() * s.hidden, states = s.batch * s.hidden;
    space.take(in, s.tokens() * GH);
    space.take(bias, GH);
    space.take(bias_n, s.hidden);
    space.take(rec, s.batch * GH);
    space.take(c, s.lstm() && sizeof(T) == 2 ? states : 0);
    space.take(zeros, states);
    space.take(outputs, call.reserve || s.layers == 1 ? 0 : 2 * Reserve(s).output);
    space.take(flags, kMostLoopBlocks);
  }
};

template <class T>
void forward_direction(const RnnStackForward<T>& call, i64 layer, i64 d, const T* x, T* y,
                       const ForwardScratch<T>& scratch, Queue& queue) {
  const RnnStack<T>& s = call.stack;
  const i64 H = s.hidden, I = s.layer_input(layer), GH = s.gates() * H, index = layer * s.directions + d;
  const i64 state = index * s.batch * H;
  const bool gru = s.cell == Cell::kGru;
  if (s.bias) {
    queue.run([&] {
      return launch(add_biases_kernel<T>, dim3(static_cast<unsigned>(ceil_div(GH, kThreads))), dim3(kThreads), 0,
                    queue.stream(), s.weight(index, kBiasIh), s.weight(index, kBiasHh), static_cast<const T*>(nullptr),
                    static_cast<const T*>(nullptr), GH, gru ? 2 * H : GH, scratch.bias, scratch.bias_n);
    });
  }
  queue.product(Gemm<T, Sum<T>>{s.tokens(), GH, I, x, I, 1, s.weight(index, kWeightIh), 1, I, scratch.in, GH,
                                s.bias ? scratch.bias : nullptr, false});

  RnnForward<T> a{};
  a.steps = s.steps, a.batch = s.batch, a.hidden = H, a.y_row = s.directions * H, a.reverse = d == 1;
  a.in = scratch.in;
  a.u = s.weight(index, kWeightHh);
  a.bias_n = s.bias && gru ? scratch.bias_n : nullptr;
  a.h0 = s.h0 ? s.h0 + state : scratch.zeros;
  a.y = y + d * H;
  if (s.cell == Cell::kLstm) {
    a.cn = sums_in(call.cn + state, scratch.c);
    queue.copy(a.cn, s.c0 ? s.c0 + state : nullptr, s.batch * H);
  }
  if (call.reserve) {
    const Reserve r(s);
    a.saved = call.reserve + r.saved_at(layer, d);
    a.cells = a.saved + r.saved;
  }
  forward_loop(s, a, scratch.rec, scratch.flags, queue);
  if (a.cn && a.cn == scratch.c) queue.copy(call.cn + state, a.cn, s.batch * H);
  const T* last = a.y + (a.reverse ? 0 : s.steps - 1) * s.batch * a.y_row;
  queue.run([&] {
    return cudaMemcpy2DAsync(call.hn + state, H * sizeof(T), last, a.y_row * sizeof(T), H * sizeof(T), s.batch,
                             cudaMemcpyDeviceToDevice, queue.stream());
  });
}

// Of one direction backward: dh, dc and zeros [N,H], da [T,N,kGrads,H], what cut products need; and the gradients of
// the outputs of two neighbouring layers.
template <class T>
struct BackwardScratch {
  Sum<T>*dh, *dc;
  T *zeros, *da, *outputs;
  unsigned char* product;
  unsigned* flags;

  BackwardScratch(const RnnStackBackward<T>& call, Space& space) {
    const RnnStack<T>& s = call.stack;
    const i64 states = s.batch * s.hidden;
    space.take(dh, states);
    space.take(dc, states);
    space.take(zeros, states);
    space.take(da, s.tokens() * s.grads() * s.hidden);
    space.take(product, weight_scratch(s));
    space.take(outputs, s.layers > 1 ? 2 * Reserve(s).output : 0);
    space.take(flags, kMostLoopBlocks);
  }
};

template <class T>
void weight_gradients(const RnnStack<T>& s, i64 layer, bool reverse, const T* x, const T* y, const T* h0, T* const* dw,
                      const BackwardScratch<T>& scratch, Queue& queue) {
  const i64 H = s.hidden, GH = s.gates() * H, I = s.layer_input(layer), tokens = s.tokens(), row = s.grads() * H;
  const i64 y_row = s.directions * H;
  const T* const da = scratch.da;
  void* const space = scratch.product;
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
  sum_rows(da, tokens, row, together, dw[2], space, queue);
  if (gru) {
    sum_rows(da + 3 * H, tokens, row, H, dw[2] + together, space, queue);
    sum_rows(da, tokens, row, GH, dw[3], space, queue);
  } else {
    queue.copy(dw[3], static_cast<const T*>(dw[2]), GH);
  }
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
  const Reserve r(s);
  const bool lstm = s.cell == Cell::kLstm;
  RnnBackward<T> a{};
  a.steps = s.steps, a.batch = s.batch, a.hidden = H, a.y_row = s.directions * H, a.reverse = d == 1;
  a.u = s.weight(index, kWeightHh);
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
  backward_loop(s, a, scratch.flags, queue);
  if (call.dh0) queue.copy(call.dh0 + state, static_cast<const Sum<T>*>(a.dh), states);
  if (lstm && call.dc0) queue.copy(call.dc0 + state, static_cast<const Sum<T>*>(a.dc), states);
  if (dx) input_gradient(s, layer, scratch.da, s.weight(index, kWeightIh), d == 1, dx, queue);
  if (!call.dweights) return;
  weight_gradients(s, layer, a.reverse, x, a.y, a.h0, call.dweights + index * s.parameters(), scratch, queue);
}

}  // namespace

template <class T>
i64 rnn_reserve_size(const RnnStack<T>& stack) {
  return Reserve(stack).total();
}

template <class T>
bool rnn_is_persistent(const RnnStack<T>& stack) {
  const RnnSettings& o = stack.settings;
  if (o.layer_norm || stack.projected() || stack.cell == Cell::kGruBefore) return false;
  return forward_plan(stack).fits() && backward_plan(stack).fits();
}

template <class T>
i64 rnn_forward_scratch(const RnnStackForward<T>& call) {
  Space space{nullptr};
  ForwardScratch<T>(call, space);
  return space.used;
}

template <class T>
i64 rnn_backward_scratch(const RnnStackBackward<T>& call) {
  Space space{nullptr};
  BackwardScratch<T>(call, space);
  return space.used;
}

template <class T>
cudaError_t rnn_forward(const RnnStackForward<T>& call, void* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  if (s.batch == 0) return cudaSuccess;
  const Reserve r(s);
  Space space{scratch_memory};
  const ForwardScratch<T> scratch(call, space);
  Queue queue(stream);
  queue.zero(scratch.zeros, s.batch * s.hidden);
  const T* x = s.x;
  for (i64 layer = 0; layer < s.layers; ++layer) {
    const bool last = layer == s.layers - 1;
    T* const kept =
        call.reserve ? outputs_in<T>(call.reserve, r.output_at(layer)) : scratch.outputs + layer % 2 * r.output;
    T* y = last ? call.y : kept;
    for (i64 d = 0; d < s.directions; ++d) forward_direction(call, layer, d, x, y, scratch, queue);
    if (!last && s.dropout > 0) {
      T* const dropped = call.reserve ? outputs_in<T>(call.reserve, r.next_input_at(layer)) : y;
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
cudaError_t rnn_backward(const RnnStackBackward<T>& call, void* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  const Reserve r(s);
  Space space{scratch_memory};
  const BackwardScratch<T> scratch(call, space);
  Queue queue(stream);
  queue.zero(scratch.zeros, s.batch * s.hidden);
  const T* dy = call.dy;
  for (i64 layer = s.layers - 1; layer >= 0; --layer) {
    const T* below = layer == 0 ? s.x : outputs_in<T>(call.reserve, r.next_input_at(layer - 1));
    const T* y = layer == s.layers - 1 ? call.y : outputs_in<T>(call.reserve, r.output_at(layer));
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

#define JADRO_RNN(T)                                                                \
  template i64 rnn_reserve_size(const RnnStack<T>&);                                \
  template bool rnn_is_persistent(const RnnStack<T>&);                              \
  template i64 rnn_forward_scratch(const RnnStackForward<T>&);                      \
  template i64 rnn_backward_scratch(const RnnStackBackward<T>&);                    \
  template cudaError_t rnn_forward(const RnnStackForward<T>&, void*, cudaStream_t); \
  template cudaError_t rnn_backward(const RnnStackBackward<T>&, void*, cudaStream_t);
JADRO_RNN(float)
JADRO_RNN(double)
JADRO_RNN(Half)
JADRO_RNN(Bfloat16)
#undef JADRO_RNN

}  // namespace jadro::cuda
