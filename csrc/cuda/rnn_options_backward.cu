// Recurrent layers with options backward: the time loop of rnn_option_backward.h, then the gradients of the weights as
// products and sums over all tokens.
#include "cuda/rnn_option_backward.h"
#include "cuda/rnn_option_calls.h"

namespace jadro::cuda {
namespace {

template <class T>
struct BackwardScratch {
  DeviceRows<T> rows;
  StateScratch<T> states;
  Sum<T>*dh, *dhu, *dc, *dh_restart, *dc_restart, *grad, *norm, *value, *sums;
  T *da, *dw, *du, *h_in, *reset, *dp, *shown, *outputs, *x, *dx, *dy, *dcells;
  unsigned char* product;
  unsigned* flags;

  BackwardScratch(const RnnStackBackward<T>& call, Space& space) : rows(call.stack, space), states(call.stack, space) {
    const RnnStack<T>& s = call.stack;
    const i64 H = s.hidden, units = s.batch * H, outs = s.batch * s.output, tokens = s.tokens();
    const i64 sided = s.settings.layer_norm ? tokens * s.gates() * H : 0;
    const i64 sorted = s.ragged() ? tokens : 0, projected = s.projected() ? tokens : 0;
    space.take(dh, outs);
    space.take(dhu, outs);
    space.take(dc, units);
    space.take(dh_restart, outs);
    space.take(dc_restart, units);
    space.take(da, tokens * s.grads() * H);
    space.take(dw, sided);
    space.take(du, sided);
    space.take(h_in, tokens * s.output);
    space.take(reset, s.cell == Cell::kGruBefore ? tokens * H : 0);
    space.take(dp, projected * s.output);
    space.take(shown, projected * H);
    space.take(grad, units);
    space.take(norm, units);
    space.take(value, units);
    space.take(sums, kRowSums * units);
    space.take(product, weight_scratch(s));
    space.take(outputs, s.layers > 1 ? 2 * Reserve(s).output : 0);
    space.take(x, sorted * s.input);
    space.take(dx, sorted * s.input);
    space.take(dy, sorted * s.directions * s.output);
    space.take(dcells, sorted * s.directions * H);
    space.take(flags, kMostLoopBlocks);
  }
};

// A token's part of the gradient of a gain: da times the number that it scales.
template <class T>
struct GainTerm {
  const T* da;
  const Sum<T>*raw, *stats;
  i64 hidden, gates, grads;
  int side;
  bool gru;

  __device__ Sum<T> operator()(i64 token, i64 column) const {
    const i64 g = column / hidden, u = column % hidden;
    const i64 from = grads > gates && side == 0 && g == gates - 1 ? grads - 1 : g;
    const Sum<T>* const st = stats + token * kRnnStats + stats_at(side, gru && g == 2);
    const Sum<T> value = (raw[token * gates * hidden + column] - st[0]) * st[1];
    return number(da[(token * grads + from) * hidden + u]) * value;
  }
};

template <class T>
class BackwardDirection {
 public:
  BackwardDirection(const RnnStackBackward<T>& call, i64 layer, i64 d, const BackwardScratch<T>& scratch, Queue& queue)
      : call_(call),
        s_(call.stack),
        layer_(layer),
        d_(d),
        index_(s_.index_of(layer, d)),
        H_(s_.hidden),
        P_(s_.output),
        G_(s_.gates()),
        tokens_(s_.tokens()),
        before_(s_.cell == Cell::kGruBefore),
        normed_(s_.settings.layer_norm),
        scratch_(scratch),
        queue_(queue) {}

  // x, y, dy, dx by token; dy and dcells may be null.
  void run(const T* x, const T* y, const T* dy, const T* dcells, T* dx) {
    static_cast<OptionRun<T>&>(a_) = option_run(s_, scratch_.rows, layer_, d_, scratch_.states, queue_);
    a_.y = y + d_ * P_;
    a_.dy = dy ? dy + d_ * P_ : nullptr;
    a_.dcells = dcells ? dcells + d_ * H_ : nullptr;
    a_.dcells_row = s_.directions * H_;
    place();
    enter(call_.dhn, P_, a_.dh);
    queue_.zero(a_.dhu, s_.batch * P_);
    queue_.zero(a_.sums, kRowSums * s_.batch * H_);
    if (a_.dc) enter(call_.dcn, H_, a_.dc);
    if (a_.dh_restart) queue_.zero(a_.dh_restart, s_.batch * P_);
    if (a_.dc_restart) queue_.zero(a_.dc_restart, s_.batch * H_);
    if (s_.batch > 0) loop();
    leave(a_.dh, P_, call_.dh0);
    leave(a_.dc, H_, call_.dc0);
    leave(a_.dh_restart, P_, call_.dreset_h);
    leave(a_.dc_restart, H_, call_.dreset_c);
    if (dx) input_gradient(dx);
    if (call_.dweights) weight_gradients(x);
  }

 private:
  void place() {
    const Reserve r(s_);
    Sum<T>* const reserve = const_cast<Sum<T>*>(call_.reserve) + r.saved_at(layer_, d_);
    const BackwardScratch<T>& b = scratch_;
    a_.saved = reserve;
    a_.cells = reserve + r.saved;
    a_.raw_ih = a_.cells + r.cells;
    a_.raw_hh = a_.raw_ih + r.raw;
    a_.stats = a_.raw_hh + r.raw;
    a_.u = s_.weight(index_, kWeightHh);
    a_.dh = b.dh, a_.dhu = b.dhu, a_.dc = s_.lstm() ? b.dc : nullptr;
    a_.dh_restart = call_.dreset_h ? b.dh_restart : nullptr;
    a_.dc_restart = call_.dreset_c ? b.dc_restart : nullptr;
    a_.da = b.da, a_.dw = b.dw, a_.du = b.du, a_.h_in = b.h_in, a_.reset = b.reset;
    a_.projected = s_.projected();
    a_.dp = a_.projected ? b.dp : nullptr;
    a_.shown = a_.projected ? b.shown : nullptr;
    a_.grad = b.grad, a_.norm = b.norm, a_.value = b.value, a_.sums = b.sums;
  }

  void enter(const T* from, i64 width, Sum<T>* to) {
    scratch_.rows.sort(from ? from + index_ * s_.batch * width : nullptr, width, to, queue_);
  }
  void leave(const Sum<T>* from, i64 width, T* to) {
    scratch_.rows.unsort(from, width, to ? to + index_ * s_.batch * width : nullptr, queue_);
  }

  void loop() {
    queue_.run([&] {
      return launch(entering_kernel<T>, grid_of(s_.steps, s_.batch * P_), dim3(kThreads), 0, queue_.stream(), a_);
    });
    queue_.run([&] { return with_option_cell<Sum<T>>(s_.cell, [&](auto cell) { return steps<decltype(cell)>(); }); });
    const i64 most = s_.batch * (H_ > P_ ? H_ : P_);
    queue_.run([&] {
      return launch(first_gradient_kernel<T>, dim3(blocks_for(most)), dim3(kThreads), 0, queue_.stream(), a_);
    });
  }

  template <class C>
  cudaError_t steps() {
    if constexpr (!C::kBefore) {
      const auto kernel_of = [](auto tile) { return option_gradient_loop_kernel<T, C, decltype(tile)>; };
      if (runs_all_steps(s_, backward_plan(s_), a_, scratch_.flags, queue_, kernel_of)) return queue_.error();
    }
    for (i64 step = s_.steps - 1; step >= 0; --step) {
      if (s_.rows->rows(a_.places.time(step)) > 0) this->step<C>(step);
    }
    return queue_.error();
  }

  template <class Kernel>
  void on_rows(Kernel kernel, i64 rows, i64 step) {
    queue_.run([&] {
      return launch(kernel, grid_of_rows(s_, rows), dim3(kThreads), (kThreads / 32) * sizeof(Sum<T>), queue_.stream(),
                    a_, step);
    });
  }

  template <class C>
  void step(i64 step) {
    const i64 t = a_.places.time(step), live = s_.rows->rows(t), first = s_.rows->at(t);
    if (a_.projected) {
      queue_.run([&] {
        return launch(open_projection_kernel<T>, dim3(blocks_for(live * P_)), dim3(kThreads), 0, queue_.stream(), a_,
                      step);
      });
      queue_.product(Gemm<T, Sum<T>>{live, H_, P_, a_.dp + first * P_, P_, 1, s_.weight(index_, kWeightHr), H_, 1,
                                     a_.grad, H_, nullptr, false});
    }
    on_rows(option_gradient_kernel<T, C>, live, step);
    const T* const left = state_side() + first * row();
    if constexpr (C::kBefore) {
      queue_.product(Gemm<T, Sum<T>>{live, H_, H_, left + 2 * H_, row(), 1, a_.u + 2 * H_ * P_, P_, 1, a_.grad, H_,
                                     nullptr, false});
      on_rows(reset_gradient_kernel<T, C>, live, step);
    }
    const i64 depth = (C::kBefore ? 2 : G_) * H_;
    queue_.product(Gemm<T, Sum<T>>{live, P_, depth, left, row(), 1, a_.u, P_, 1, a_.dhu, P_, nullptr, false});
  }

  // Gradients of W x and of U h: [tokens,row()], the GRU's n apart from the others, or with layer norm side by side.
  bool apart() const { return s_.cell == Cell::kGru && !normed_; }
  const T* input_side() const { return normed_ ? a_.dw : a_.da; }
  const T* state_side() const { return normed_ ? a_.du : a_.da; }
  i64 row() const { return (normed_ ? G_ : s_.grads()) * H_; }
  i64 together() const { return apart() ? 2 * H_ : G_ * H_; }

  void input_gradient(T* dx) {
    const T* const w = s_.weight(index_, kWeightIh);
    const i64 I = s_.layer_input(layer_);
    queue_.product(Gemm<T>{tokens_, I, together(), input_side(), row(), 1, w, I, 1, dx, I, nullptr, d_ == 1});
    if (apart()) {
      queue_.product(Gemm<T>{tokens_, I, H_, a_.da + 3 * H_, row(), 1, w + together() * I, I, 1, dx, I, nullptr, true});
    }
  }

  T* gradient(RnnParameter which) const {
    return s_.has(which) ? call_.dweights[index_ * s_.parameters() + s_.place(which)] : nullptr;
  }

  void multiply(const T* d, i64 d_row, i64 rows, const T* x, i64 columns, T* dw) {
    weight_gradient(d, d_row, rows, x, columns, tokens_, columns, false, dw, scratch_.product, queue_);
  }

  void weight_gradients(const T* x) {
    const i64 I = s_.layer_input(layer_);
    T *const dw = gradient(kWeightIh), *const du = gradient(kWeightHh);
    multiply(input_side(), row(), together(), x, I, dw);
    if (apart()) multiply(a_.da + 3 * H_, row(), H_, x, I, dw + together() * I);
    multiply(state_side(), row(), (before_ ? 2 : G_) * H_, a_.h_in, P_, du);
    if (before_) multiply(state_side() + 2 * H_, row(), H_, a_.reset, P_, du + 2 * H_ * P_);
    if (a_.projected) multiply(a_.dp, P_, P_, a_.shown, H_, gradient(kWeightHr));
    bias_gradients(gradient(kBiasIh), gradient(kBiasHh));
    bias_gradients(gradient(kNormBiasIh), gradient(kNormBiasHh));
    gain_gradient(gradient(kGainIh), 0);
    gain_gradient(gradient(kGainHh), 1);
    int at = 0;
    for (RnnParameter which : {kGainC, kNormBiasC, kPeepI, kPeepF, kPeepO}) {
      if (T* const to = gradient(which))
        sum_rows(a_.sums + at * H_, s_.batch, kRowSums * H_, H_, to, scratch_.product, queue_);
      ++at;
    }
  }

  void bias_gradients(T* ih, T* hh) {
    if (!ih) return;
    const bool gru = s_.cell == Cell::kGru;  // da is r z m n: n goes to the input's side
    const i64 da_row = s_.grads() * H_, size = gru ? 2 * H_ : G_ * H_;
    void* const scratch = scratch_.product;
    sum_rows(a_.da, tokens_, da_row, size, ih, scratch, queue_);
    if (gru) {
      sum_rows(a_.da + 3 * H_, tokens_, da_row, H_, ih + size, scratch, queue_);
      sum_rows(a_.da, tokens_, da_row, G_ * H_, hh, scratch, queue_);
    } else {
      queue_.copy(hh, static_cast<const T*>(ih), G_ * H_);
    }
  }

  void gain_gradient(T* to, int side) {
    if (!to) return;
    const Sum<T>* const raw = side ? a_.raw_hh : a_.raw_ih;
    const GainTerm<T> term{a_.da, raw, a_.stats, H_, G_, s_.grads(), side, is_gru(s_.cell)};
    sum_columns(tokens_, G_ * H_, term, to, scratch_.product, queue_);
  }

  const RnnStackBackward<T>& call_;
  const RnnStack<T>& s_;
  const i64 layer_, d_, index_, H_, P_, G_, tokens_;
  const bool before_, normed_;
  const BackwardScratch<T>& scratch_;
  Queue& queue_;
  OptionBackward<T> a_{};
};

}  // namespace

template <class T>
i64 rnn_options_backward_scratch(const RnnStackBackward<T>& call) {
  Space space{nullptr};
  BackwardScratch<T>(call, space);
  return space.used;
}

template <class T>
cudaError_t rnn_options_backward(const RnnStackBackward<T>& call, void* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  const Reserve r(s);
  Space space{scratch_memory};
  const BackwardScratch<T> scratch(call, space);
  const DeviceRows<T>& rows = scratch.rows;
  const bool ragged = s.ragged();
  const i64 out = s.directions * s.output, cells = s.directions * s.hidden;
  Queue queue(stream);
  rows.fill(queue);
  queue.zero(scratch.states.zeros, s.batch * (s.hidden > s.output ? s.hidden : s.output));
  if (ragged) {
    rows.gather(s.x, s.input, scratch.x, queue);
    if (call.dy) rows.gather(call.dy, out, scratch.dy, queue);
    if (call.dcells) rows.gather(call.dcells, cells, scratch.dcells, queue);
  }
  const T* d_out = ragged && call.dy ? scratch.dy : call.dy;
  for (i64 layer = s.layers - 1; layer >= 0; --layer) {
    const bool last = layer == s.layers - 1;
    const T* below = layer > 0 ? outputs_in<T>(call.reserve, r.next_input_at(layer - 1)) : ragged ? scratch.x : s.x;
    const T* y = last && !ragged ? call.y : outputs_in<T>(call.reserve, r.output_at(layer));
    T* d_in = layer > 0 ? scratch.outputs + layer % 2 * r.output : call.dx && ragged ? scratch.dx : call.dx;
    const T* const d_cells = !last ? nullptr : ragged && call.dcells ? scratch.dcells : call.dcells;
    for (i64 d = 0; d < s.directions; ++d) {
      BackwardDirection<T>(call, layer, d, scratch, queue).run(below, y, d_out, d_cells, d_in);
    }
    if (layer > 0 && s.dropout > 0) rows.dropout(layer - 1, d_in, d_in, queue);
    d_out = d_in;
  }
  if (call.dx && ragged) rows.scatter(scratch.dx, s.input, call.dx, s.input, queue);
  return queue.error();
}

#define JADRO_RNN_OPTIONS(T)                                             \
  template i64 rnn_options_backward_scratch(const RnnStackBackward<T>&); \
  template cudaError_t rnn_options_backward(const RnnStackBackward<T>&, void*, cudaStream_t);
JADRO_RNN_OPTIONS(float)
JADRO_RNN_OPTIONS(double)
JADRO_RNN_OPTIONS(Half)
JADRO_RNN_OPTIONS(Bfloat16)
#undef JADRO_RNN_OPTIONS

}  // namespace jadro::cuda
