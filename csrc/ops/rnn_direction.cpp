#include "ops/rnn_plan.h"
#include "ops/split.h"

namespace jadro {
namespace {

i64 round_up(i64 n, i64 unit) { return (n + unit - 1) / unit * unit; }

// The biases of the input's side: b_ih + b_hh, but for the GRU's n, whose b_hh stands apart, in `apart`. Those of layer
// norm go with them.
template <class T>
void add_biases(const RnnDirection<T>& direction, T* out, T* apart) {
  const RnnSizes& s = direction.sizes;
  const i64 size = s.gates() * s.hidden, summed = s.cell == Cell::kGru ? 2 * s.hidden : size;
  std::memset(out, 0, size * sizeof(T));
  std::memset(apart, 0, s.hidden * sizeof(T));
  for (RnnParameter which : {kBiasIh, kBiasHh, kNormBiasIh, kNormBiasHh}) {
    const T* const b = direction.weight(which);
    if (!b) continue;
    const bool input = which == kBiasIh || which == kNormBiasIh;
    for (i64 i = 0; i < size; ++i) (input || i < summed ? out[i] : apart[i - summed]) += b[i];
  }
}

}  // namespace

template <class T>
RnnDirection<T>::RnnDirection(const RnnStack<T>& stack, const RnnBatch& batch, i64 layer, i64 d, const T* zeros)
    : sizes(stack),
      batch(batch),
      layer(layer),
      d(d),
      index(layer * stack.directions + d),
      kernels(kernels_of<T>()),
      stack_(stack),
      zeros_(zeros),
      states_(batch.ragged() ? 2 * stack.batch * (stack.hidden + stack.output) : 0),
      work_(stack.has_options() ? kRnnWork * stack.batch * stack.hidden : 0) {
  if (stack.has_options()) {
    const RnnSettings& o = stack.settings;
    const auto place = [&](double p, i64 size) { return p > 0 ? static_cast<u64>(size) : 0; };
    const u64 each = place(o.zoneout_h, stack.steps * stack.batch * stack.output),
              each_c = place(is_lstm(stack.cell) ? o.zoneout_c : 0, stack.steps * stack.batch * stack.hidden),
              each_drop = place(o.recurrent_dropout,
                                o.update ? stack.steps * stack.batch * stack.hidden : stack.batch * stack.output);
    const u64 between =
        place(stack.dropout, (stack.layers - 1) * stack.steps * stack.batch * stack.directions * stack.output);
    const u64 at = stack.offset + between + static_cast<u64>(index) * (each + each_c + each_drop);
    options_ = {weight(kGainIh),
                weight(kGainHh),
                weight(kGainC),
                weight(kNormBiasC),
                weight(kPeepI),
                weight(kPeepF),
                weight(kPeepO),
                static_cast<T>(o.gate_clip),
                static_cast<T>(o.cell_clip),
                static_cast<T>(o.zoneout_h),
                static_cast<T>(o.zoneout_c),
                static_cast<T>(o.recurrent_dropout),
                o.training,
                o.update,
                stack.seed,
                at,
                at + each,
                at + each + each_c,
                batch.order()};
  }
  fill(forward);
  choose_share();
  static_cast<RnnRun<T>&>(backward) = forward;
  forward.shape.x_row = stack.layer_input(layer);
}

template <class T>
void RnnDirection<T>::fill(RnnRun<T>& run) {
  const RnnSizes& s = sizes;
  run.shape = {s.cell, s.steps,      s.batch, s.layer_input(layer), s.hidden, s.output, 0, s.directions * s.output,
               d == 1, batch.first()};
  run.options = s.has_options() ? &options_ : nullptr;
  run.run = {0, s.steps};
  run.restart = batch.restart(d);
  run.any_restart = batch.any_restart(d);
  run.work = work_.data();
  T* to = states_.data();
  const auto state = [&](const T* from, i64 width) -> const T* {
    const T* const here = from ? from + index * s.batch * width : nullptr;
    T* const sorted = to;
    to += s.batch * width;
    if (!here || !batch.ragged()) return here ? here : zeros_;
    batch.sort_rows(here, width, sorted);
    return sorted;
  };
  run.h0 = state(stack_.h0, s.output);
  run.h_restart = state(stack_.reset_h, s.output);
  run.c0 = state(stack_.c0, s.hidden);
  run.c_restart = state(stack_.reset_c, s.hidden);
}

template <class T>
void RnnDirection<T>::pack_forward() {
  const RnnSizes& s = sizes;
  const Kernels<T>& k = kernels;
  const i64 H = s.hidden, P = s.output, I = s.layer_input(layer), G = s.gates();
  const i64 panels = round_up(H, k.tile_columns), outs = s.projected() ? round_up(P, k.tile_columns) : 0;
  packed_forward_ = std::make_unique<Scratch<T>>(G * panels * (I + P) + outs * H + (G + 1) * H);
  T* const w_ih = packed_forward_->data();
  T* const w_hh = w_ih + G * panels * I;
  T* const w_hr = w_hh + G * panels * P;
  take_biases(w_hr + outs * H);
  parallel_for(static_cast<int>(2 * G + s.projected()), threads_for(G * H * (I + P)), [&](int task, int) {
    const i64 gate = task / 2;
    if (gate == G) {
      k.pack_b(weight(kWeightHr), 1, H, H, P, w_hr);
    } else if (task % 2 == 0) {
      k.pack_b(weight(kWeightHh) + gate * H * P, 1, P, P, H, w_hh + gate * panels * P);
    } else {
      k.pack_b(weight(kWeightIh) + gate * H * I, 1, I, I, H, w_ih + gate * panels * I);
    }
  });
  forward.unpacked = false;
  forward.w_ih = w_ih;
  forward.w_hh = w_hh;
  forward.w_hr = s.projected() ? w_hr : nullptr;
}

template <class T>
void RnnDirection<T>::take_biases(T* to) {
  const i64 size = sizes.gates() * sizes.hidden;
  const bool biased = sizes.bias || sizes.settings.layer_norm;
  if (biased) add_biases(*this, to, to + size);
  forward.bias = biased ? to : nullptr;
  forward.bias_n = biased && sizes.cell == Cell::kGru ? to + size : nullptr;
}

// Packing reads and writes every weight; dot products with their rows lose a little of each use. For a single step the
// two met, with 32 to 512 units, where the square of the tokens was a 512th of the weights.
template <class T>
bool RnnDirection<T>::unpacked_forward() const {
  constexpr i64 kFew = 2, kTokens = 512;
  const i64 tokens = batch.tokens(), weights = sizes.gates() * sizes.hidden * (sizes.layer_input(layer) + sizes.output);
  return sizes.steps == 1 && !sizes.has_options() && (tokens <= kFew || kTokens * tokens * tokens <= weights);
}

template <class T>
void RnnDirection<T>::take_forward() {
  if (!unpacked_forward()) return pack_forward();
  packed_forward_ = std::make_unique<Scratch<T>>((sizes.gates() + 1) * sizes.hidden);
  take_biases(packed_forward_->data());
  forward.unpacked = true;
  forward.w_ih = weight(kWeightIh);
  forward.w_hh = weight(kWeightHh);
}

template <class T>
void RnnDirection<T>::take_backward() {
  if (!unpacked_backward()) return pack_backward();
  backward.unpacked = true;
  backward.w_hh = weight(kWeightHh);
}

template <class T>
void RnnDirection<T>::pack_backward() {
  const RnnSizes& s = sizes;
  const Kernels<T>& k = kernels;
  const i64 H = s.hidden, P = s.output, G = s.gates(), outs = round_up(P, k.tile_columns);
  const bool before = s.cell == Cell::kGruBefore;
  packed_backward_ = std::make_unique<Scratch<T>>(G * H * outs + (s.projected() ? P * round_up(H, k.tile_columns) : 0));
  T* const w_hh = packed_backward_->data();
  T* const w_hr = w_hh + G * H * outs;
  const i64 rows = before ? 2 * H : G * H;
  const auto pack = [&](const T* w, i64 depth, i64 width, T* to) {  // W[depth, width] by passes
    const i64 row = round_up(width, k.tile_columns);
    parallel_for(static_cast<int>((depth + k.pass_depth - 1) / k.pass_depth), threads_for(depth * width),
                 [&](int pass, int) {
                   const i64 first = pass * k.pass_depth, count = std::min(k.pass_depth, depth - first);
                   k.pack_b(w + first * width, width, 1, count, width, to + first * row);
                 });
  };
  pack(weight(kWeightHh), rows, P, w_hh);
  backward.w_hh = w_hh;
  if (before) {
    pack(weight(kWeightHh) + rows * P, H, P, w_hh + rows * outs);
    backward.w_hn = w_hh + rows * outs;
  }
  if (s.projected()) {
    pack(weight(kWeightHr), P, H, w_hr);
    backward.w_hr = w_hr;
  }
}

template <class T>
Range RnnDirection<T>::tokens(Range run) const {
  if (run.begin >= run.end) return {0, 0};
  const i64 a = forward.shape.time(run.begin), b = forward.shape.time(run.end - 1), last = std::max(a, b);
  return {batch.at(std::min(a, b)), batch.at(last) + batch.rows(last)};
}

template <class T>
void RnnDirection<T>::choose_share() {
  constexpr i64 kRowsEach = 4, kFlopsForBarrier = 40000, kWeightBytes = 8 << 20;
  const Rnn& s = forward.shape;
  const i64 work = s.gates() * s.hidden * s.output, all = threads_for(batch.tokens() * work);
  const i64 panels = round_up(s.hidden, kernels.tile_columns) / kernels.tile_columns;
  const i64 rows = batch.tokens() / std::max<i64>(1, s.steps);
  // Weights beyond the caches are read by every owner of rows, but in parts by owners of units.
  const bool small = work * static_cast<i64>(sizeof(T)) <= kWeightBytes || panels < 2 * all;
  by_rows_ = rows >= kRowsEach * all && small;
  paired_ = !by_rows_ && sizes.directions == 2 && all % 2 == 0 && !sizes.settings.layer_norm &&
            sizes.settings.checkpoint == 0;
  const i64 threads = paired_ ? all / 2 : all;
  const bool worth = 2 * std::max<i64>(1, rows) * work >= kFlopsForBarrier;
  tasks_ = static_cast<int>(by_rows_ ? threads : worth ? std::min(threads, panels) : 1);
}

template <class T>
i64 RnnDirection<T>::steps_ahead() const {
  constexpr i64 kBytes = i64{1} << 20;  // they stay in the second-level caches
  if (!projects_ahead()) return sizes.steps;
  return std::max<i64>(1, kBytes / std::max<i64>(1, step_size() * static_cast<i64>(sizeof(T))));
}

// Runs loop(direction, rows, units, outs, scratch, barrier) on every share of the work, of another direction too.
template <class T>
template <class Need, class Loop>
void RnnDirection<T>::share_out(RnnDirection* other, Need need, Loop loop) {
  const i64 panel = kernels.tile_columns, H = sizes.hidden, P = sizes.output, N = sizes.batch;
  RnnDirection* const directions[] = {this, other};
  const int count = other ? 2 : 1, all = count * tasks_;
  i64 most = 0;  // scratch of any share: one of fewer rows or units may want more steps at a time
  if (by_rows_) {
    for (int task = 0; task < tasks_; ++task) {
      const Range mine = batch.part(task, tasks_);
      most = std::max(most, need(mine.end - mine.begin, H));
    }
    const Scratch<T> scratch(most, all);
    parallel_for(all, all, [&](int task, int rank) {
      loop(*directions[task / tasks_], batch.part(task % tasks_, tasks_), Range{0, H}, Range{0, P}, scratch.at(rank),
           nullptr);
    });
    return;
  }
  for (int parts = 1; parts <= all; ++parts) {  // the team may be smaller than asked for
    for (int i = 0; i < parts; ++i) {
      const Range units = part_of(H, panel, i, parts);
      most = std::max(most, need(N, units.end - units.begin));
    }
  }
  const Scratch<T> scratch(most, all);
  Barrier barriers[] = {Barrier(tasks_), Barrier(tasks_)};
  team_run(all, [&](int rank, int size, Barrier& barrier) {
    const auto run = [&](RnnDirection* d, int i, int parts, Barrier& meeting) {
      loop(*d, Range{0, N}, part_of(H, panel, i, parts), part_of(P, panel, i, parts), scratch.at(rank),
           parts > 1 ? &meeting : nullptr);
    };
    if (size == all) return run(directions[rank / tasks_], rank % tasks_, tasks_, barriers[rank / tasks_]);
    for (int d = 0; d < count; ++d) run(directions[d], rank, size, barrier);
  });
}

template <class T>
void RnnDirection<T>::set_run(Range run) {
  forward.run = backward.run = run;
  forward.origin = backward.origin = tokens(run).begin;
  forward.in = nullptr;
}

template <class T>
void RnnDirection<T>::loop_forward(RnnDirection* other) {
  share_out(
      other,
      [&](i64 rows, i64 units) {
        return kernels.rnn_forward_scratch(forward.shape, rows, units, forward.options != nullptr);
      },
      [&](RnnDirection& d, Range rows, Range units, Range outs, T* scratch, Barrier* barrier) {
        kernels.rnn_forward(d.forward, rows, units, outs, scratch, barrier);
      });
}

template <class T>
void RnnDirection<T>::loop_backward(RnnDirection* other) {
  share_out(
      other,
      [&](i64 rows, i64) { return kernels.rnn_backward_scratch(backward.shape, rows, backward.options != nullptr); },
      [&](RnnDirection& d, Range rows, Range units, Range outs, T* scratch, Barrier* barrier) {
        kernels.rnn_backward(d.backward, rows, units, outs, scratch, barrier);
      });
}

template <class T>
void RnnDirection<T>::run_forward(Range run, T* ahead) {
  const Kernels<T>& k = kernels;
  const RnnSizes& s = sizes;
  RnnForward<T>& a = forward;
  set_run(run);
  if (projects_ahead()) {
    const Range here = tokens(run);
    const Split blocks(here.end - here.begin, 8 * k.tile_rows, k.tile_rows);
    const int threads = threads_for((here.end - here.begin) * s.gates() * s.hidden * s.layer_input(layer));
    const Scratch<T> scratch(blocks.size() * round_up(s.layer_input(layer), k.lanes), threads);
    parallel_for(static_cast<int>(blocks.count()), threads, [&](int task, int rank) {
      const Range r = blocks.range(task);
      k.rnn_project(a, {here.begin + r.begin, here.begin + r.end}, ahead + r.begin * s.gates() * s.hidden,
                    scratch.at(rank));
    });
    a.in = ahead;
  }
  loop_forward(nullptr);
}

template <class T>
void RnnDirection<T>::run_backward(Range run) {
  set_run(run);
  loop_backward(nullptr);
}

template <class T>
void RnnDirection<T>::run_forward_with(RnnDirection& other) {
  for (RnnDirection* d : {this, &other}) d->set_run({0, sizes.steps});
  loop_forward(&other);
}

template <class T>
void RnnDirection<T>::run_backward_with(RnnDirection& other) {
  for (RnnDirection* d : {this, &other}) d->set_run({0, sizes.steps});
  loop_backward(&other);
}

template class RnnDirection<float>;
template class RnnDirection<double>;

}  // namespace jadro
