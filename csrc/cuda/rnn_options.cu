// Recurrent layers with options forward: the input's projections of all steps as one product, then the time loop of
// rnn_option_forward.h, in one launch or in a few a step.
#include "cuda/rnn_option_calls.h"
#include "cuda/rnn_option_forward.h"

namespace jadro::cuda {
namespace {

template <class T>
struct ForwardScratch {
  DeviceRows<T> rows;
  StateScratch<T> states;
  Sum<T>*in, *bias, *bias_n, *rec, *c, *made, *out, *r, *z, *h, *stats, *cells;
  T *enter, *shown, *reset, *x, *outputs;
  unsigned* flags;

  ForwardScratch(const RnnStackForward<T>& call, Space& space) : rows(call.stack, space), states(call.stack, space) {
    const RnnStack<T>& s = call.stack;
    const i64 units = s.batch * s.hidden, outs = s.batch * s.output, GH = s.gates() * s.hidden, tokens = s.tokens();
    const bool keep = call.reserve != nullptr, ragged = s.ragged();
    space.take(in, tokens * GH);
    space.take(bias, GH);
    space.take(bias_n, s.hidden);
    space.take(rec, s.batch * GH);
    space.take(enter, 2 * outs);
    space.take(c, s.lstm() && (ragged || sizeof(T) == 2) ? units : 0);
    space.take(made, units);
    space.take(out, units);
    space.take(shown, units);
    space.take(reset, units);
    space.take(r, units);
    space.take(z, units);
    space.take(h, s.projected() ? outs : 0);
    space.take(stats, s.settings.layer_norm && !keep ? tokens * kRnnStats : 0);
    space.take(cells, call.cells && !keep ? tokens * s.hidden : 0);
    space.take(x, ragged ? tokens * s.input : 0);
    space.take(outputs, keep || (s.layers == 1 && !ragged) ? 0 : 2 * Reserve(s).output);
    space.take(flags, kMostLoopBlocks);
  }
};

// The last state of every row, in the order of the call.
template <class T>
__global__ void last_states_kernel(OptionForward<T> a, T* hn) {
  const RnnPlaces& p = a.places;
  const i64 size = p.batch * a.output;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
    const i64 n = i / a.output, u = i % a.output, steps = p.row_steps(n);
    const i64 t = p.reverse ? 0 : steps - 1;
    hn[p.original(n) * a.output + u] = steps == 0 ? a.h0[i] : a.y[(p.at(t) + n) * a.y_row + u];
  }
}

template <class T>
class ForwardDirection {
 public:
  ForwardDirection(const RnnStackForward<T>& call, i64 layer, i64 d, const ForwardScratch<T>& scratch, Queue& queue)
      : call_(call),
        s_(call.stack),
        layer_(layer),
        d_(d),
        index_(s_.index_of(layer, d)),
        GH_(s_.gates() * s_.hidden),
        scratch_(scratch),
        queue_(queue) {}

  // x [tokens,I] to y [tokens,..], of which this direction writes its part.
  void run(const T* x, T* y) {
    static_cast<OptionRun<T>&>(a_) = option_run(s_, scratch_.rows, layer_, d_, scratch_.states, queue_);
    a_.y = y + d_ * s_.output;
    a_.u = s_.weight(index_, kWeightHh);
    a_.enter = scratch_.enter;
    a_.made = scratch_.made, a_.out = scratch_.out, a_.shown = scratch_.shown;
    a_.r = scratch_.r, a_.z = scratch_.z, a_.reset = scratch_.reset;
    a_.projected = s_.projected();
    place_reserve();
    project(x);
    if (s_.lstm()) {
      a_.c = s_.ragged() ? scratch_.c : sums_in(call_.cn + index_ * s_.batch * s_.hidden, scratch_.c);
      queue_.copy(a_.c, a_.c0, s_.batch * s_.hidden);
    }
    queue_.run([&] {
      return launch(enter_kernel<T>, dim3(blocks_for(s_.batch * s_.output)), dim3(kThreads), 0, queue_.stream(), a_);
    });
    queue_.run([&] { return with_option_cell<Sum<T>>(s_.cell, [&](auto cell) { return loop<decltype(cell)>(); }); });
    finish();
  }

 private:
  void place_reserve() {
    const bool shows = call_.cells && layer_ == s_.layers - 1;
    a_.in = scratch_.in;
    a_.stats = scratch_.stats;
    if (shows) a_.cells = scratch_.cells;
    if (!call_.reserve) return;
    const Reserve r(s_);
    a_.saved = call_.reserve + r.saved_at(layer_, d_);
    if (r.cells) a_.cells = a_.saved + r.saved;
    if (!r.raw) return;
    a_.raw_ih = a_.saved + r.saved + r.cells;
    a_.raw_hh = a_.raw_ih + r.raw;
    a_.stats = a_.raw_hh + r.raw;
    a_.in = a_.raw_ih;
  }

  void project(const T* x) {
    const bool normed = s_.settings.layer_norm, biased = s_.bias || normed, gru = s_.cell == Cell::kGru;
    const i64 I = s_.layer_input(layer_), tokens = s_.tokens();
    if (biased) {
      queue_.run([&] {
        return launch(add_biases_kernel<T>, dim3(static_cast<unsigned>(ceil_div(GH_, kThreads))), dim3(kThreads), 0,
                      queue_.stream(), s_.weight(index_, kBiasIh), s_.weight(index_, kBiasHh),
                      s_.weight(index_, kNormBiasIh), s_.weight(index_, kNormBiasHh), GH_, gru ? 2 * s_.hidden : GH_,
                      scratch_.bias, scratch_.bias_n);
      });
    }
    a_.bias = scratch_.bias;
    a_.bias_n = biased && gru ? scratch_.bias_n : nullptr;
    queue_.product(Gemm<T, Sum<T>>{tokens, GH_, I, x, I, 1, s_.weight(index_, kWeightIh), 1, I,
                                   const_cast<Sum<T>*>(a_.in), GH_, biased && !normed ? scratch_.bias : nullptr,
                                   false});
    if (!normed || tokens == 0) return;
    queue_.run([&] {
      return with_option_cell<Sum<T>>(s_.cell, [&](auto cell) {
        return launch(input_moments_kernel<Sum<T>, decltype(cell)>, dim3(static_cast<unsigned>(tokens)), dim3(kThreads),
                      row_shared(sizeof(Sum<T>)), queue_.stream(), a_.in, s_.hidden, a_.stats);
      });
    });
  }

  template <class C>
  cudaError_t loop() {
    if constexpr (!C::kBefore) {
      const auto kernel_of = [](auto tile) { return option_loop_kernel<T, C, decltype(tile)>; };
      if (runs_all_steps(s_, forward_plan(s_), a_, scratch_.flags, queue_, kernel_of)) return queue_.error();
    }
    for (i64 step = 0; step < s_.steps; ++step) this->step<C>(step);
    return queue_.error();
  }

  // kernel(a, step, rest...) on rows of the step.
  template <class Kernel>
  void on_rows(Kernel kernel, i64 rows, i64 step, const Sum<T>* rec) {
    if (rows == 0) return;
    queue_.run([&] {
      return launch(kernel, grid_of_rows(s_, rows), dim3(kThreads), row_shared(sizeof(Sum<T>)), queue_.stream(), a_,
                    step, rec);
    });
  }

  template <class C>
  void step(i64 step) {
    const i64 t = a_.places.time(step), H = s_.hidden, P = s_.output, live = s_.rows->rows(t);
    const i64 next = step + 1 < s_.steps ? s_.rows->rows(a_.places.time(step + 1)) : 0, all = live > next ? live : next;
    Sum<T>* const rec = a_.raw_hh ? a_.raw_hh + s_.rows->at(t) * GH_ : scratch_.rec;
    const i64 columns = C::kBefore ? 2 * H : GH_;
    queue_.product(Gemm<T, Sum<T>>{live, columns, P, a_.entering(step), P, 1, a_.u, 1, P, rec, GH_, nullptr, false});
    if constexpr (C::kBefore) {
      on_rows(reset_gates_kernel<T, C>, live, step, rec);
      queue_.product(
          Gemm<T, Sum<T>>{live, H, H, a_.reset, H, 1, a_.u + 2 * H * P, 1, P, rec + 2 * H, GH_, nullptr, false});
      on_rows(reset_results_kernel<T, C>, all, step, rec);
    } else {
      on_rows(option_step_kernel<T, C>, a_.projected ? live : all, step, rec);
    }
    if (!a_.projected || all == 0) return;
    queue_.product(
        Gemm<T, Sum<T>>{live, P, H, a_.shown, H, 1, s_.weight(index_, kWeightHr), 1, H, scratch_.h, P, nullptr, false});
    queue_.run([&] {
      return launch(give_kernel<T>, dim3(blocks_for(all * P)), dim3(kThreads), 0, queue_.stream(), a_, step,
                    static_cast<const Sum<T>*>(scratch_.h), all);
    });
  }

  void finish() {
    const i64 H = s_.hidden, outs = s_.batch * s_.output, units = s_.batch * H;
    queue_.run([&] {
      return launch(last_states_kernel<T>, dim3(blocks_for(outs)), dim3(kThreads), 0, queue_.stream(), a_,
                    call_.hn + index_ * outs);
    });
    if (s_.lstm() && a_.c == scratch_.c) scratch_.rows.unsort(a_.c, H, call_.cn + index_ * units, queue_);
    if (call_.cells && layer_ == s_.layers - 1) {
      scratch_.rows.scatter(a_.cells, H, call_.cells + d_ * H, s_.directions * H, queue_);
    }
  }

  const RnnStackForward<T>& call_;
  const RnnStack<T>& s_;
  const i64 layer_, d_, index_, GH_;
  const ForwardScratch<T>& scratch_;
  Queue& queue_;
  OptionForward<T> a_{};
};

}  // namespace

i64 rnn_options_reserve_size(const RnnSizes& sizes, bool ragged, i64 tokens) {
  return Reserve(sizes, true, ragged, tokens).total();
}

template <class T>
i64 rnn_options_forward_scratch(const RnnStackForward<T>& call) {
  Space space{nullptr};
  ForwardScratch<T>(call, space);
  return space.used;
}

template <class T>
cudaError_t rnn_options_forward(const RnnStackForward<T>& call, void* scratch_memory, cudaStream_t stream) {
  const RnnStack<T>& s = call.stack;
  if (s.batch == 0) return cudaSuccess;
  const Reserve r(s);
  Space space{scratch_memory};
  const ForwardScratch<T> scratch(call, space);
  Queue queue(stream);
  scratch.rows.fill(queue);
  queue.zero(scratch.states.zeros, s.batch * (s.hidden > s.output ? s.hidden : s.output));
  const T* x = s.x;
  if (s.ragged()) {
    scratch.rows.gather(s.x, s.input, scratch.x, queue);
    x = scratch.x;
  }
  for (i64 layer = 0; layer < s.layers; ++layer) {
    const bool last = layer == s.layers - 1;
    T* const y = last && !s.ragged() ? call.y
                 : call.reserve      ? outputs_in<T>(call.reserve, r.output_at(layer))
                                     : scratch.outputs + layer % 2 * r.output;
    for (i64 d = 0; d < s.directions; ++d) ForwardDirection<T>(call, layer, d, scratch, queue).run(x, y);
    x = y;
    if (last || s.dropout == 0) continue;
    T* const dropped = call.reserve ? outputs_in<T>(call.reserve, r.next_input_at(layer)) : y;
    scratch.rows.dropout(layer, y, dropped, queue);
    x = dropped;
  }
  const i64 width = s.directions * s.output;
  if (s.ragged()) scratch.rows.scatter(x, width, call.y, width, queue);
  return queue.error();
}

#define JADRO_RNN_OPTIONS(T)                                           \
  template i64 rnn_options_forward_scratch(const RnnStackForward<T>&); \
  template cudaError_t rnn_options_forward(const RnnStackForward<T>&, void*, cudaStream_t);
JADRO_RNN_OPTIONS(float)
JADRO_RNN_OPTIONS(double)
JADRO_RNN_OPTIONS(Half)
JADRO_RNN_OPTIONS(Bfloat16)
#undef JADRO_RNN_OPTIONS

}  // namespace jadro::cuda
