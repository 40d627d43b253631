#include "ops/rnn.h"

#include <algorithm>
#include <cstring>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/dropout.h"
#include "ops/gemm.h"

namespace jadro {
namespace {

i64 saved_per_unit(Cell cell) { return cell == Cell::kLstm || cell == Cell::kGru ? 4 : 0; }
i64 grads_per_unit(Cell cell) { return cell == Cell::kLstm || cell == Cell::kGru ? 4 : 1; }

const char* cell_name(Cell cell) {
  switch (cell) {
    case Cell::kRnnTanh:
      return "rnn_tanh";
    case Cell::kRnnRelu:
      return "rnn_relu";
    case Cell::kLstm:
      return "lstm";
    case Cell::kGru:
      return "gru";
  }
  return "";
}

// T x N x I -> H, layers x directions
template <class T>
std::string stack_text(const RnnStack<T>& s) {
  return sizes_text({s.steps, s.batch, s.input}) + "->" + sizes_text({s.hidden}) + " " +
         sizes_text({s.layers, s.directions});
}

// Where the pieces of `reserve` stand. A layer: for each direction what the cell saves and the cell states; then, but
// for the last layer, whose output is y, the layer's output and the same after dropout.
struct Reserve {
  i64 saved, cells, direction, output, dropped, layer;  // sizes; `direction` and `layer` are strides
  i64 directions, layers;

  Reserve(Cell cell, i64 steps, i64 batch, i64 hidden, i64 layers, i64 directions, bool dropout)
      : directions(directions), layers(layers) {
    const i64 states = steps * batch * hidden;
    saved = states * saved_per_unit(cell);
    cells = cell == Cell::kLstm ? states : 0;
    direction = saved + cells;
    output = states * directions;
    dropped = dropout ? output : 0;
    layer = directions * direction + output + dropped;
  }
  i64 total() const { return layers * layer - output - dropped; }
  i64 saved_at(i64 l, i64 d) const { return l * layer + d * direction; }
  i64 output_at(i64 l) const { return l * layer + directions * direction; }
  i64 next_input_at(i64 l) const { return output_at(l) + dropped; }
};

template <class T>
Reserve reserve_of(const RnnStack<T>& s) {
  return Reserve(s.cell, s.steps, s.batch, s.hidden, s.layers, s.directions, s.dropout > 0);
}

// How a time loop is shared out: by rows where every thread gets a few, else by panels of units with a barrier each
// step, and not at all where a step is too small to meet for.
struct Share {
  int tasks;
  bool by_rows;

  Share(const Rnn& s, i64 unit_panel, i64 depth) {
    constexpr i64 kRowsEach = 4, kFlopsForBarrier = 40000;
    const i64 threads = threads_for(s.steps * s.batch * s.gates() * s.hidden * depth);
    const i64 panels = (s.hidden + unit_panel - 1) / unit_panel;
    by_rows = s.batch >= kRowsEach * threads;
    const bool worth = 2 * s.batch * s.gates() * s.hidden * depth >= kFlopsForBarrier;
    tasks = static_cast<int>(by_rows ? threads : worth ? std::min(threads, panels) : 1);
  }
};

Range part(i64 total, i64 unit, i64 i, i64 parts) {
  const i64 units = (total + unit - 1) / unit;
  return {std::min(total, units * i / parts * unit), std::min(total, units * (i + 1) / parts * unit)};
}

// Runs loop(rows, units, scratch, barrier) on every share of the work.
template <class T, class Need, class Loop>
void share_out(const Rnn& s, const Share& share, i64 unit_panel, Need need, Loop loop) {
  const Range all_rows{0, s.batch}, all_units{0, s.hidden};
  if (share.by_rows) {
    const i64 rows = (s.batch + share.tasks - 1) / share.tasks;
    const Scratch<T> scratch(need(rows, s.hidden), share.tasks);
    parallel_for(share.tasks, share.tasks, [&](int task, int rank) {
      loop(part(s.batch, 1, task, share.tasks), all_units, scratch.at(rank), nullptr);
    });
    return;
  }
  const i64 narrow = std::min(s.hidden, unit_panel);
  const Scratch<T> scratch(std::max(need(s.batch, s.hidden), need(s.batch, narrow)), share.tasks);
  team_run(share.tasks, [&](int rank, int size, Barrier& barrier) {
    loop(all_rows, part(s.hidden, unit_panel, rank, size), scratch.at(rank), size > 1 ? &barrier : nullptr);
  });
}

// b_ih + b_hh, but for the GRU's n, whose b_hh stands apart.
template <class T>
void add_biases(Cell cell, const T* ih, const T* hh, i64 size, i64 hidden, T* out) {
  const i64 summed = cell == Cell::kGru ? 2 * hidden : size;
  for (i64 i = 0; i < size; ++i) out[i] = i < summed ? ih[i] + hh[i] : ih[i];
}

template <class T>
void forward_direction(const RnnStackForward<T>& call, i64 layer, i64 d, const T* x, T* y, const T* zeros, T* cn) {
  const RnnStack<T>& s = call.stack;
  const Kernels<T>& k = kernels_of<T>();
  const i64 H = s.hidden, I = s.layer_input(layer), G = s.gates(), state = (layer * s.directions + d) * s.batch * H;
  const T* const* w = s.weights + (layer * s.directions + d) * s.weights_per_cell();
  const i64 panels = (H + k.tile_columns - 1) / k.tile_columns * k.tile_columns;
  const Scratch<T> packed(G * panels * (I + H) + G * H);
  T* const w_hh = packed.data() + G * panels * I;
  T* const bias = w_hh + G * panels * H;
  parallel_for(2, threads_for(G * H * (I + H)), [&](int task, int) {
    if (task == 0) {
      k.rnn_pack_forward(w[0], G, H, I, packed.data());
    } else {
      k.rnn_pack_forward(w[1], G, H, H, w_hh);
    }
  });
  if (s.bias) add_biases(s.cell, w[2], w[3], G * H, H, bias);

  RnnForward<T> a{};
  a.shape = {s.cell, s.steps, s.batch, I, H, I, s.directions * H, d == 1};
  a.x = x;
  a.h0 = s.h0 ? s.h0 + state : zeros;
  a.w_ih = packed.data();
  a.w_hh = w_hh;
  a.bias = s.bias ? bias : nullptr;
  a.bias_n = s.bias && s.cell == Cell::kGru ? w[3] + 2 * H : nullptr;
  a.y = y + d * H;
  if (s.cell == Cell::kLstm) {
    a.cn = cn + state;
    std::memcpy(a.cn, s.c0 ? s.c0 + state : zeros, s.batch * H * sizeof(T));
  }
  if (call.reserve) {
    const Reserve r = reserve_of(s);
    a.saved = call.reserve + r.saved_at(layer, d);
    a.cells = a.saved + r.saved;
  }
  share_out<T>(
      a.shape, Share(a.shape, k.tile_columns, H), k.tile_columns,
      [&](i64 rows, i64 units) { return k.rnn_forward_scratch(a.shape, rows, units); },
      [&](Range rows, Range units, T* scratch, Barrier* barrier) { k.rnn_forward(a, rows, units, scratch, barrier); });
  const T* last = s.steps == 0 ? nullptr : a.y + (d == 1 ? 0 : s.steps - 1) * s.batch * a.shape.y_row;
  for (i64 n = 0; n < s.batch; ++n) {
    std::memcpy(call.hn + state + n * H, last ? last + n * a.shape.y_row : a.h0 + n * H, H * sizeof(T));
  }
}

// dw = da^T x over all steps for the gates in [rows of da], and its bias.
template <class T>
void weight_gradient(const T* da, i64 da_row, i64 gate_rows, const T* x, i64 x_row, i64 depth, i64 columns, bool add,
                     T* dw) {
  Gemm<T> g{gate_rows, columns, depth, da, 1, da_row, x, x_row, 1, dw, columns, nullptr, add};
  gemm(g);
}

template <class T>
void bias_gradient(const T* da, i64 da_row, i64 gate_rows, i64 depth, T* db) {
  constexpr i64 kColumns = 64;
  const Kernels<T>& k = kernels_of<T>();
  parallel_for(
      static_cast<int>((gate_rows + kColumns - 1) / kColumns), threads_for(gate_rows * depth), [&](int task, int) {
        k.sum_rows(da, depth, da_row, {task * kColumns, std::min(gate_rows, (task + 1) * kColumns)}, false, db);
      });
}

// Gradients of one direction's weights from da [T,N,kGrads,H] and its inputs.
template <class T>
void weight_gradients(const RnnStack<T>& s, i64 layer, i64 d, const T* da, const T* x, const T* y, const T* h0,
                      T* const* dw) {
  const i64 H = s.hidden, G = s.gates(), I = s.layer_input(layer), TN = s.steps * s.batch;
  const i64 row = grads_per_unit(s.cell) * H, y_row = s.directions * H;
  const bool gru = s.cell == Cell::kGru;
  const i64 together = gru ? 2 * H : G * H;  // the GRU's da is r z m n: n goes to the input's side
  weight_gradient(da, row, together, x, I, TN, I, false, dw[0]);
  if (gru) weight_gradient(da + 3 * H, row, H, x, I, TN, I, false, dw[0] + together * I);
  // h of the step before: y one step off, and h0 at the first step.
  const i64 first = d == 1 ? TN - s.batch : 0;
  weight_gradient(da + first * row, row, G * H, h0, H, s.batch, H, false, dw[1]);
  const T* later = da + (d == 1 ? 0 : s.batch * row);
  const T* before = y + (d == 1 ? s.batch * y_row : 0);
  if (s.steps > 1) weight_gradient(later, row, G * H, before, y_row, TN - s.batch, H, true, dw[1]);
  if (!s.bias) return;
  bias_gradient(da, row, together, TN, dw[2]);
  if (gru) bias_gradient(da + 3 * H, row, H, TN, dw[2] + together);
  bias_gradient(da, row, G * H, TN, dw[3]);
}

template <class T>
void input_gradient(const RnnStack<T>& s, i64 layer, const T* da, const T* w_ih, bool add, T* dx) {
  const i64 H = s.hidden, I = s.layer_input(layer), TN = s.steps * s.batch, row = grads_per_unit(s.cell) * H;
  const bool gru = s.cell == Cell::kGru;
  const i64 together = gru ? 2 * H : s.gates() * H;
  gemm(Gemm<T>{TN, I, together, da, row, 1, w_ih, I, 1, dx, I, nullptr, add});
  if (gru) gemm(Gemm<T>{TN, I, H, da + 3 * H, row, 1, w_ih + together * I, I, 1, dx, I, nullptr, true});
}

template <class T>
void backward_direction(const RnnStackBackward<T>& call, i64 layer, i64 d, const T* x, const T* y, const T* dy, T* dx,
                        const T* zeros, T* dh, T* dc, T* da) {
  const RnnStack<T>& s = call.stack;
  const Kernels<T>& k = kernels_of<T>();
  const i64 H = s.hidden, G = s.gates(), states = s.batch * H, index = layer * s.directions + d, state = index * states;
  const T* const* w = s.weights + index * s.weights_per_cell();
  const Reserve r = reserve_of(s);
  const i64 panels = (H + k.tile_columns - 1) / k.tile_columns * k.tile_columns;
  const Scratch<T> packed(G * H * panels);
  k.rnn_pack_backward(w[1], G * H, H, packed.data());

  RnnBackward<T> a{};
  a.shape = {s.cell, s.steps, s.batch, s.layer_input(layer), H, 0, s.directions * H, d == 1};
  a.h0 = s.h0 ? s.h0 + state : zeros;
  a.c0 = s.c0 ? s.c0 + state : zeros;
  a.w_hh = packed.data();
  a.y = y + d * H;
  a.saved = call.reserve + r.saved_at(layer, d);
  a.cells = a.saved + r.saved;
  a.dy = dy ? dy + d * H : nullptr;
  a.dh = dh;
  a.dc = dc;
  a.da = da;
  std::memcpy(dh, call.dhn ? call.dhn + state : zeros, states * sizeof(T));
  if (dc) std::memcpy(dc, call.dcn ? call.dcn + state : zeros, states * sizeof(T));
  share_out<T>(
      a.shape, Share(a.shape, k.tile_columns, H), k.tile_columns,
      [&](i64 rows, i64) { return k.rnn_backward_scratch(a.shape, rows); },
      [&](Range rows, Range units, T* scratch, Barrier* barrier) { k.rnn_backward(a, rows, units, scratch, barrier); });
  if (call.dh0) std::memcpy(call.dh0 + state, dh, states * sizeof(T));
  if (dc && call.dc0) std::memcpy(call.dc0 + state, dc, states * sizeof(T));
  if (dx) input_gradient(s, layer, da, w[0], d == 1, dx);
  if (call.dweights) weight_gradients(s, layer, d, da, x, a.y, a.h0, call.dweights + index * s.weights_per_cell());
}

}  // namespace

i64 rnn_reserve_size(Cell cell, i64 steps, i64 batch, i64 hidden, i64 layers, i64 directions, bool dropout) {
  return Reserve(cell, steps, batch, hidden, layers, directions, dropout).total();
}

template <class T>
void rnn_forward(const RnnStackForward<T>& call) {
  const RnnStack<T>& s = call.stack;
  const Verbose<T> line("rnn_forward", cell_name(s.cell), [&] { return stack_text(s); });
  const Reserve r = reserve_of(s);
  const Scratch<T> zeros(s.batch * s.hidden);
  std::memset(zeros.data(), 0, s.batch * s.hidden * sizeof(T));
  // Inference keeps the outputs of two layers at a time.
  const bool keep = call.reserve != nullptr;
  const Scratch<T> hidden_outputs(keep || s.layers == 1 ? 0 : 2 * r.output);
  const T* x = s.x;
  for (i64 layer = 0; layer < s.layers; ++layer) {
    const bool last = layer == s.layers - 1;
    T* y = last ? call.y : keep ? call.reserve + r.output_at(layer) : hidden_outputs.data() + layer % 2 * r.output;
    for (i64 d = 0; d < s.directions; ++d) forward_direction(call, layer, d, x, y, zeros.data(), call.cn);
    if (!last && s.dropout > 0) {
      T* dropped = keep ? y + r.output : y;
      dropout(y, dropped, r.output, s.dropout, s.seed, s.offset + layer * r.output);
      y = dropped;
    }
    x = y;
  }
}

template <class T>
void rnn_backward(const RnnStackBackward<T>& call) {
  const RnnStack<T>& s = call.stack;
  const Verbose<T> line("rnn_backward", cell_name(s.cell), [&] { return stack_text(s); });
  const Reserve r = reserve_of(s);
  const i64 states = s.batch * s.hidden;
  const bool lstm = s.cell == Cell::kLstm;
  const Scratch<T> small(3 * states), da(s.steps * states * grads_per_unit(s.cell));
  const Scratch<T> between(s.layers > 1 ? 2 * r.output : 0);  // gradients of two neighbouring layers' outputs
  std::memset(small.data(), 0, states * sizeof(T));
  T* const dh = small.data() + states;
  T* const dc = lstm ? dh + states : nullptr;
  const T* dy = call.dy;
  for (i64 layer = s.layers - 1; layer >= 0; --layer) {
    const T* below = layer == 0 ? s.x : call.reserve + r.next_input_at(layer - 1);
    const T* y = layer == s.layers - 1 ? call.y : call.reserve + r.output_at(layer);
    T* dx = layer == 0 ? call.dx : between.data() + layer % 2 * r.output;
    for (i64 d = 0; d < s.directions; ++d) {
      backward_direction(call, layer, d, below, y, dy, dx, small.data(), dh, dc, da.data());
    }
    if (layer > 0 && s.dropout > 0) dropout(dx, dx, r.output, s.dropout, s.seed, s.offset + (layer - 1) * r.output);
    dy = dx;
  }
}

template void rnn_forward<float>(const RnnStackForward<float>&);
template void rnn_forward<double>(const RnnStackForward<double>&);
template void rnn_backward<float>(const RnnStackBackward<float>&);
template void rnn_backward<double>(const RnnStackBackward<double>&);

}  // namespace jadro
