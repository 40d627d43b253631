#include "ops/gemm.h"
#include "ops/rnn_plan.h"

namespace jadro {
namespace {

// dw = da^T x over all tokens for the gates in [gate_rows], or dw += .
template <class T>
void weight_gradient(const T* da, i64 da_row, i64 gate_rows, const T* x, i64 x_row, i64 depth, i64 columns, bool add,
                     T* dw) {
  Gemm<T> g{gate_rows, columns, depth, da, 1, da_row, x, x_row, 1, dw, columns, nullptr, add};
  gemm(g);
}

template <class T>
void column_sums(const T* a, i64 rows, i64 row, i64 columns, T* out) {
  constexpr i64 kColumns = 64;
  const Kernels<T>& k = kernels_of<T>();
  parallel_for(static_cast<int>((columns + kColumns - 1) / kColumns), threads_for(columns * rows), [&](int task, int) {
    k.sum_rows(a, rows, row, {task * kColumns, std::min(columns, (task + 1) * kColumns)}, false, out);
  });
}

// Elements from one token's gradients of pre-activations to the next's: where that is a power of two, the rows that a
// panel is packed of would share their cache sets.
template <class T>
i64 gradient_row(const RnnSizes& s) {
  constexpr i64 kLine = kAlign / sizeof(T);
  const i64 size = rnn_grads_per_unit(s.cell) * s.hidden;
  return size % (8 * kLine) == 0 ? size + kLine : size;
}

// What is in turn used for every layer, and for every direction unless they run at once.
template <class T>
struct Buffers {
  const T* zeros;
  T *dh, *dc, *da;
};

// Gradients by token of a layer's output and input.
template <class T>
struct LayerGradients {
  const T *x, *y, *dy, *dcells;
  T* dx;
};

// One direction of one layer, from its outputs' gradients to those of its inputs and parameters.
template <class T>
class Backward {
 public:
  Backward(const RnnStackBackward<T>& call, const RnnBatch& batch, i64 layer, i64 d, const Buffers<T>& buffers)
      : direction(call.stack, batch, layer, d, buffers.zeros),
        call(call),
        s(call.stack),
        batch(batch),
        r(s, batch.ragged(), batch.tokens()),
        a(direction.backward),
        layer(layer),
        d(d),
        index(direction.index),
        H(s.hidden),
        P(s.output),
        G(s.gates()),
        tokens(batch.tokens()),
        before(s.cell == Cell::kGruBefore),
        normed(s.settings.layer_norm),
        gathers(batch.ragged() || batch.resets() || before ||
                (s.settings.training && s.settings.recurrent_dropout > 0 && !s.settings.update)),
        sided(normed ? 2 * tokens * G * H : 0),
        inputs(gathers ? tokens * (P + (before ? H : 0)) : 0),
        projection(s.projected() ? tokens * (P + H) : 0),
        starts(2 * s.batch * (H + P)),
        sums(s.has_options() ? s.batch * rnn_sums(a.shape) : 0) {
    a.da = buffers.da;
    a.da_row = gradient_row<T>(s);
    a.dh = buffers.dh;
    a.dc = is_lstm(s.cell) ? buffers.dc : nullptr;
    if (normed) {
      a.dw = sided.data();
      a.du = a.dw + tokens * G * H;
    }
    a.h_in = gathers ? inputs.data() : nullptr;
    a.reset = before ? inputs.data() + tokens * P : nullptr;
    a.dp = s.projected() ? projection.data() : nullptr;
    a.shown = s.projected() ? a.dp + tokens * P : nullptr;
    a.sums = sums.data();
    if (s.has_options()) std::memset(a.sums, 0, s.batch * rnn_sums(a.shape) * sizeof(T));
  }

  // x, y, dy, dx by token; `dy` and `dcells` may be null.
  void begin(const T* y, const T* dy, const T* dcells) {
    direction.take_backward();
    a.y = y + d * P;
    a.dy = dy ? dy + d * P : nullptr;
    a.dcells = dcells ? dcells + d * H : nullptr;
    a.dcells_row = s.directions * H;
    enter(call.dhn, P, a.dh);
    if (a.dc) enter(call.dcn, H, a.dc);
    a.dh_restart = call.dreset_h ? starts.data() : nullptr;
    a.dc_restart = call.dreset_c && a.dc ? starts.data() + s.batch * P : nullptr;
    std::memset(starts.data(), 0, s.batch * (H + P) * sizeof(T));
    if (s.settings.checkpoint != 0) return;
    T* const reserve = const_cast<T*>(call.reserve) + r.saved_at(layer, d);
    a.saved = reserve;
    a.cells = reserve + r.saved;
    a.raw_ih = a.cells + r.cells;
    a.raw_hh = a.raw_ih + r.raw;
    a.stats = a.raw_hh + r.raw;
  }

  void run(const T* x) {
    if (s.settings.checkpoint == 0) {
      direction.run_backward({0, s.steps});
    } else {
      run_again(x);
    }
  }

  void finish(const T* x, T* dx) const {
    leave(a.dh, P, call.dh0);
    if (a.dc) leave(a.dc, H, call.dc0);
    leave(a.dh_restart, P, call.dreset_h);
    leave(a.dc_restart, H, call.dreset_c);
    if (dx) input_gradient(dx);
    if (call.dweights) weight_gradients(x);
  }

  RnnDirection<T> direction;

 private:
  void enter(const T* from, i64 width, T* to) const {
    if (!from) {
      std::memset(to, 0, s.batch * width * sizeof(T));
    } else {
      batch.sort_rows(from + index * s.batch * width, width, to);
    }
  }
  void leave(const T* from, i64 width, T* to) const {
    if (from && to) batch.unsort_rows(from, width, to + index * s.batch * width);
  }

  // The gates of some steps are made once more, from the states that were kept.
  void run_again(const T* x) {
    constexpr i64 kStepsAgain = 16;
    const i64 k = s.settings.checkpoint, length = std::max<i64>(1, std::min(s.steps, k == 1 ? kStepsAgain : k));
    const i64 most = std::min(tokens, length * s.batch), states = s.batch * H;
    const i64 raw = normed ? most * G * H : 0;
    const Scratch<T> made(most * rnn_saved_per_unit(s) * H + (a.dc ? most * H + 2 * states : 0) + 2 * raw +
                          (normed ? most * kRnnStats : 0));
    const Scratch<T> ahead(normed ? 0 : direction.ahead_size(length));
    direction.take_forward();
    RnnForward<T>& f = direction.forward;
    f.x = x;
    f.y = a.y;
    f.saved = made.data();
    T* at = made.data() + most * rnn_saved_per_unit(s) * H;
    T* enter = nullptr;
    if (a.dc) {
      f.cells = at;
      enter = at + most * H;
      f.cn = enter + states;
      at = f.cn + states;
    }
    f.raw_ih = normed ? at : nullptr;
    f.raw_hh = normed ? at + raw : nullptr;
    f.stats = normed ? at + 2 * raw : nullptr;
    a.saved = f.saved;
    a.cells = f.cells;
    a.raw_ih = f.raw_ih;
    a.raw_hh = f.raw_hh;
    a.stats = f.stats;
    a.c_enter = enter;
    for (i64 step = (s.steps - 1) / length * length; step >= 0; step -= length) {
      const Range run{step, std::min(s.steps, step + length)};
      if (enter) {
        entering_cells(step, enter);
        std::memcpy(f.cn, enter, states * sizeof(T));
      }
      direction.run_forward(run, normed ? f.raw_ih : ahead.data());
      direction.run_backward(run);
    }
  }

  // The cell state [N,H] before a step.
  void entering_cells(i64 step, T* out) const {
    const T* const kept = call.reserve + r.saved_at(layer, d) + r.saved;
    const i64 states = s.batch * H, k = s.settings.checkpoint;
    if (step == 0) {
      std::memcpy(out, a.c0, states * sizeof(T));
    } else if (k > 1) {
      std::memcpy(out, kept + (step / k - 1) * states, states * sizeof(T));
    } else {
      const i64 t = a.shape.time(step), before = a.shape.time(step - 1);
      for (i64 n = 0; n < s.batch; ++n) {
        const bool lives = n < batch.rows(t) && !a.shape.begins(t, n);
        std::memcpy(out + n * H, lives ? kept + (batch.at(before) + n) * H : a.c0 + n * H, H * sizeof(T));
      }
    }
  }

  // Gradients of W x: [tokens, G*H], the GRU's n apart from the others, or with layer norm all side by side.
  bool apart() const { return s.cell == Cell::kGru && !normed; }
  const T* input_side() const { return normed ? a.dw : a.da; }
  const T* state_side() const { return normed ? a.du : a.da; }
  i64 row() const { return normed ? G * H : a.da_row; }
  i64 together() const { return apart() ? 2 * H : G * H; }

  void input_gradient(T* dx) const {
    const T* const w = direction.weight(kWeightIh);
    const i64 I = s.layer_input(layer);
    gemm(Gemm<T>{tokens, I, together(), input_side(), row(), 1, w, I, 1, dx, I, nullptr, d == 1});
    if (apart()) {
      gemm(Gemm<T>{tokens, I, H, a.da + 3 * H, row(), 1, w + together() * I, I, 1, dx, I, nullptr, true});
    }
  }

  T* gradient(RnnParameter which) const {
    return s.has(which) ? call.dweights[index * s.parameters() + s.place(which)] : nullptr;
  }

  void weight_gradients(const T* x) const {
    const i64 I = s.layer_input(layer);
    T* const dw = gradient(kWeightIh);
    weight_gradient(input_side(), row(), together(), x, I, tokens, I, false, dw);
    if (apart()) weight_gradient(a.da + 3 * H, row(), H, x, I, tokens, I, false, dw + together() * I);
    recurrent_gradient(gradient(kWeightHh));
    bias_gradients(gradient(kBiasIh), gradient(kBiasHh));
    bias_gradients(gradient(kNormBiasIh), gradient(kNormBiasHh));
    if (s.projected()) weight_gradient<T>(a.dp, P, P, a.shown, H, tokens, H, false, gradient(kWeightHr));
    i64 at = 0;
    for (RnnParameter which : {kGainIh, kGainHh, kGainC, kNormBiasC, kPeepI, kPeepF, kPeepO}) {
      const i64 size = which == kGainIh || which == kGainHh ? G * H : H;
      if (s.has(which)) column_sums<T>(a.sums + at, s.batch, rnn_sums(a.shape), size, gradient(which));
      at += size;
    }
  }

  void recurrent_gradient(T* dw) const {
    if (before) {
      weight_gradient<T>(state_side(), row(), 2 * H, a.h_in, P, tokens, P, false, dw);
      weight_gradient<T>(state_side() + 2 * H, row(), H, a.reset, P, tokens, P, false, dw + 2 * H * P);
      return;
    }
    if (gathers) return weight_gradient<T>(state_side(), row(), G * H, a.h_in, P, tokens, P, false, dw);
    // h of the step before: y one step off, and h0 at the first step.
    const i64 first = d == 1 ? tokens - s.batch : 0, y_row = a.shape.y_row;
    weight_gradient(state_side() + first * row(), row(), G * H, a.h0, P, s.batch, P, false, dw);
    const T* later = state_side() + (d == 1 ? 0 : s.batch * row());
    const T* earlier = a.y + (d == 1 ? s.batch * y_row : 0);
    if (s.steps > 1) weight_gradient(later, row(), G * H, earlier, y_row, tokens - s.batch, P, true, dw);
  }

  void bias_gradients(T* ih, T* hh) const {
    if (!ih) return;
    // With layer norm the loop has added up a row's over the steps.
    const i64 all = rnn_sums(a.shape), rows = normed ? s.batch : tokens;
    const T* const da = normed ? a.sums + (2 * G + 5) * H : a.da;
    const bool gru = s.cell == Cell::kGru;  // da is r z m n: n goes to the input's side
    const i64 da_row = normed ? all : a.da_row, shared = gru ? 2 * H : G * H;
    column_sums<T>(da, rows, da_row, G * H, hh);
    std::memcpy(ih, hh, shared * sizeof(T));
    if (gru) column_sums<T>(da + 3 * H, rows, da_row, H, ih + shared);
  }

  const RnnStackBackward<T>& call;
  const RnnStack<T>& s;
  const RnnBatch& batch;
  const RnnReserve r;
  RnnBackward<T>& a;
  const i64 layer, d, index, H, P, G, tokens;
  const bool before, normed, gathers;
  const Scratch<T> sided, inputs, projection, starts, sums;
};

template <class T>
void backward_layer(const RnnStackBackward<T>& call, const RnnBatch& batch, i64 layer, const Buffers<T>* buffers,
                    const LayerGradients<T>& g) {
  const auto begin = [&](Backward<T>& direction) { direction.begin(g.y, g.dy, g.dcells); };
  Backward<T> first(call, batch, layer, 0, buffers[0]);
  begin(first);
  if (call.stack.directions == 2 && first.direction.paired()) {
    Backward<T> second(call, batch, layer, 1, buffers[1]);
    begin(second);
    first.direction.run_backward_with(second.direction);
    first.finish(g.x, g.dx);
    return second.finish(g.x, g.dx);
  }
  first.run(g.x);
  first.finish(g.x, g.dx);
  if (call.stack.directions == 1) return;
  Backward<T> second(call, batch, layer, 1, buffers[0]);
  begin(second);
  second.run(g.x);
  second.finish(g.x, g.dx);
}

}  // namespace

template <class T>
void rnn_backward(const RnnStackBackward<T>& call) {
  const RnnStack<T>& s = call.stack;
  const Verbose<T> line("rnn_backward", rnn_cell_name(s.cell), [&] { return rnn_text(s); });
  const RnnBatch batch(s.steps, s.batch, s.directions, s.lengths, s.reset);
  const RnnReserve r(s, batch.ragged(), batch.tokens());
  const bool ragged = batch.ragged();
  const i64 wide = std::max(s.hidden, s.output), tokens = batch.tokens(), out = s.directions * s.output;
  const i64 states = s.batch * wide, gradients = tokens * gradient_row<T>(s);
  const Scratch<T> small((1 + 2 * s.directions) * states), da(s.directions * gradients);
  const Scratch<T> between(s.layers > 1 ? 2 * r.output : 0);  // gradients of two neighbouring layers' outputs
  std::memset(small.data(), 0, states * sizeof(T));
  Buffers<T> buffers[2];
  for (i64 d = 0; d < s.directions; ++d) {
    T* const at = small.data() + (1 + 2 * d) * states;
    buffers[d] = {small.data(), at, at + states, da.data() + d * gradients};
  }
  // By token: x, dx, dy and dcells of the call
  const Scratch<T> sorted(ragged ? tokens * (2 * s.input + out + s.directions * s.hidden) : 0);
  T *const x = sorted.data(), *const dx = x + tokens * s.input, *const dy = dx + tokens * s.input;
  T* const dcells = dy + tokens * out;
  if (ragged) {
    batch.gather(s.x, s.input, s.input, x, s.input);
    if (call.dy) batch.gather(call.dy, out, out, dy, out);
    if (call.dcells)
      batch.gather(call.dcells, s.directions * s.hidden, s.directions * s.hidden, dcells, s.directions * s.hidden);
  }
  const T* d_out = ragged && call.dy ? dy : call.dy;
  for (i64 layer = s.layers - 1; layer >= 0; --layer) {
    const bool last = layer == s.layers - 1;
    const T* below = layer == 0 ? (ragged ? x : s.x) : call.reserve + r.next_input_at(layer - 1);
    const T* y = last && !ragged ? call.y : call.reserve + r.output_at(layer);
    T* d_in = layer > 0 ? between.data() + layer % 2 * r.output : call.dx && ragged ? dx : call.dx;
    const T* const d_cells = !last ? nullptr : ragged && call.dcells ? dcells : call.dcells;
    backward_layer<T>(call, batch, layer, buffers, {below, y, d_out, d_cells, d_in});
    if (layer > 0 && s.dropout > 0) rnn_dropout(s, batch, layer - 1, d_in, d_in);
    d_out = d_in;
  }
  if (call.dx && ragged) batch.scatter(dx, s.input, s.input, call.dx, s.input);
}

template void rnn_backward<float>(const RnnStackBackward<float>&);
template void rnn_backward<double>(const RnnStackBackward<double>&);

}  // namespace jadro
