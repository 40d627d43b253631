#include "ops/rnn_stepper.h"

#include <algorithm>
#include <cstring>

#include "core/cpu.h"
#include "core/thread_pool.h"
#include "core/verbose.h"

namespace jadro {
namespace {

i64 round_up(i64 n, i64 unit) { return (n + unit - 1) / unit * unit; }

Range part(i64 total, i64 unit, i64 i, i64 parts) {
  const i64 units = (total + unit - 1) / unit;
  return {std::min(total, units * i / parts * unit), std::min(total, units * (i + 1) / parts * unit)};
}

}  // namespace

template <class T>
RnnStepper<T>::RnnStepper(const RnnStack<T>& stack, T* h, T* c, T* y)
    : kernels_(kernels_of<T>()), stack_(stack), h_(h) {
  const RnnStack<T>& s = stack_;
  const i64 H = s.hidden, G = s.gates(), N = s.batch, states = N * H;
  const i64 columns = G * round_up(H, kernels_.tile_columns);
  i64 depth = 0, widest = 0;
  for (i64 l = 0; l < s.layers; ++l) {
    depth += s.layer_input(l) + H;
    widest = std::max(widest, s.layer_input(l));
  }
  weights_ = std::make_unique<Scratch<T>>(columns * depth + s.layers * (G + 1) * H);
  outputs_ = std::make_unique<Scratch<T>>(s.layers * states);
  T* at = weights_->data();
  for (i64 l = 0; l < s.layers; ++l) {
    const i64 I = s.layer_input(l);
    Packed p{};
    p.w_ih = at;
    p.w_hh = p.w_ih + columns * I;
    at = p.w_hh + columns * H;
    RnnForward<T> a{};
    a.shape = {s.cell, 1, N, I, H, I, H, false};
    a.x = l == 0 ? nullptr : layers_.back().y;
    a.h0 = h + l * states;
    a.y = l == s.layers - 1 ? y : outputs_->data() + l * states;
    a.cn = c ? c + l * states : nullptr;
    a.w_ih = p.w_ih;
    a.w_hh = p.w_hh;
    packed_.push_back(p);
    layers_.push_back(a);
  }
  for (i64 l = 0; l < s.layers && s.bias; ++l) {
    packed_[l].bias = at;
    packed_[l].bias_n = at + G * H;
    layers_[l].bias = at;
    layers_[l].bias_n = s.cell == Cell::kGru ? packed_[l].bias_n : nullptr;
    at += (G + 1) * H;
  }
  work_ = N * G * H * depth;
  const i64 threads = threads_for(work_), panels = round_up(H, kernels_.tile_columns) / kernels_.tile_columns;
  by_rows_ = N >= threads;
  tasks_ = static_cast<int>(by_rows_ ? threads : std::min(threads, panels));
  const Rnn wide{s.cell, 1, N, widest, H, widest, H, false};
  scratch_ = std::make_unique<Scratch<T>>(kernels_.rnn_forward_scratch(wide, N, H), tasks_);
}

template <class T>
void RnnStepper<T>::pack(const T* const* weights) {
  const i64 H = stack_.hidden, G = stack_.gates();
  for (i64 l = 0; l < stack_.layers; ++l) {
    const T* const* const w = weights + l * stack_.weights_per_cell();
    const Packed& p = packed_[l];
    kernels_.rnn_pack_forward(w[0], G, H, stack_.layer_input(l), p.w_ih);
    kernels_.rnn_pack_forward(w[1], G, H, H, p.w_hh);
    if (!stack_.bias) continue;
    // b + b' where the cell adds them: not for the GRU's n
    const i64 summed = stack_.cell == Cell::kGru ? 2 * H : G * H;
    for (i64 i = 0; i < G * H; ++i) p.bias[i] = i < summed ? w[2][i] + w[3][i] : w[2][i];
    if (stack_.cell == Cell::kGru) std::memcpy(p.bias_n, w[3] + 2 * H, H * sizeof(T));
  }
}

template <class T>
void RnnStepper<T>::run_layers(Range rows, Range units, T* scratch, Barrier* barrier) const {
  for (const RnnForward<T>& a : layers_) kernels_.rnn_forward(a, rows, units, scratch, barrier);
}

template <class T>
void RnnStepper<T>::step(const T* x) {
  const i64 N = stack_.batch, H = stack_.hidden;
  const Verbose<T> line("rnn_step", "packed", [&] { return sizes_text({N, stack_.input, H, stack_.layers}); });
  layers_[0].x = x;
  if (tasks_ == 1) {
    run_layers({0, N}, {0, H}, scratch_->data(), nullptr);
  } else if (by_rows_) {
    parallel_for(tasks_,
                 [&](int task, int) { run_layers(part(N, 1, task, tasks_), {0, H}, scratch_->at(task), nullptr); });
  } else {
    team_run(tasks_, [&](int rank, int size, Barrier& barrier) {
      run_layers({0, N}, part(H, kernels_.tile_columns, rank, size), scratch_->at(rank), size > 1 ? &barrier : nullptr);
    });
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    std::memcpy(h_ + static_cast<i64>(l) * N * H, layers_[l].y, N * H * sizeof(T));
  }
}

template class RnnStepper<float>;
template class RnnStepper<double>;

}  // namespace jadro
