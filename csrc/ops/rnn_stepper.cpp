#include "ops/rnn_stepper.h"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {

template <class T>
RnnStepper<T>::RnnStepper(const RnnSizes& sizes, T* h, T* c, T* y)
    : batch_(1, sizes.batch, 1, nullptr, nullptr), h_(h) {
  static_cast<RnnSizes&>(stack_) = sizes;
  const RnnStack<T>& s = stack_;
  const i64 N = s.batch, P = s.output, states = N * P;
  stack_.h0 = h;
  stack_.c0 = c;
  stack_.reset_h = stack_.reset_c = nullptr;
  stack_.lengths = nullptr;
  stack_.reset = nullptr;
  i64 vectors = 0, widest = 0;
  for (i64 l = 0; l < s.layers; ++l) {
    widest = std::max(widest, s.layer_input(l));
    work_ += N * s.gates() * s.hidden * (s.layer_input(l) + P);
    for (int p = 0; p < kRnnParameters; ++p) {
      const auto which = static_cast<RnnParameter>(p);
      const std::vector<i64> shape = s.has(which) ? s.shape(which, l) : std::vector<i64>{0, 0};
      if (shape.size() == 1) vectors += shape[0];
    }
  }
  weights_.resize(s.layers * s.parameters());
  vectors_ = std::make_unique<Scratch<T>>(vectors);
  T* at = vectors_->data();
  for (i64 l = 0; l < s.layers; ++l) {
    for (int p = 0; p < kRnnParameters; ++p) {
      const auto which = static_cast<RnnParameter>(p);
      if (!s.has(which) || s.shape(which, l).size() != 1) continue;
      weights_[l * s.parameters() + s.place(which)] = at;
      at += s.shape(which, l)[0];
    }
  }
  stack_.weights = weights_.data();
  outputs_ = std::make_unique<Scratch<T>>(s.layers * states);
  for (i64 l = 0; l < s.layers; ++l) {
    layers_.push_back(std::make_unique<RnnDirection<T>>(s, batch_, l, 0, nullptr));
    RnnForward<T>& a = layers_.back()->forward;
    a.x = l == 0 ? nullptr : layers_[l - 1]->forward.y;
    a.y = a.y_new = l == s.layers - 1 ? y : outputs_->data() + l * states;
    a.cn = c ? c + l * N * s.hidden : nullptr;
  }
  const Kernels<T>& k = layers_[0]->kernels;
  const i64 threads = threads_for(work_), panels = (s.hidden + k.tile_columns - 1) / k.tile_columns;
  by_rows_ = N >= threads;
  // Layer norm wants whole rows of the projections, which a step makes itself.
  tasks_ = static_cast<int>(by_rows_ ? threads : s.settings.layer_norm ? 1 : std::min(threads, panels));
  Rnn wide = layers_[0]->forward.shape;
  wide.input = widest;
  scratch_ = std::make_unique<Scratch<T>>(k.rnn_forward_scratch(wide, N, s.hidden, s.has_options()), tasks_);
}

template <class T>
void RnnStepper<T>::pack(const T* const* weights) {
  const RnnStack<T>& s = stack_;
  for (i64 l = 0; l < s.layers; ++l) {
    for (int p = 0; p < kRnnParameters; ++p) {
      const auto which = static_cast<RnnParameter>(p);
      if (!s.has(which)) continue;
      const i64 place = l * s.parameters() + s.place(which);
      const std::vector<i64> shape = s.shape(which, l);
      if (shape.size() == 1) {
        std::memcpy(const_cast<T*>(weights_[place]), weights[place], shape[0] * sizeof(T));
      } else {
        weights_[place] = weights[place];
      }
    }
  }
  for (auto& layer : layers_) layer->pack_forward();
}

template <class T>
void RnnStepper<T>::run_layers(Range rows, Range units, Range outs, T* scratch, Barrier* barrier) const {
  for (const auto& layer : layers_) layer->kernels.rnn_forward(layer->forward, rows, units, outs, scratch, barrier);
}

template <class T>
void RnnStepper<T>::step(const T* x) {
  const i64 N = stack_.batch, H = stack_.hidden, P = stack_.output;
  const Verbose<T> line("rnn_step", "packed", [&] { return sizes_text({N, stack_.input, H, stack_.layers}); });
  layers_[0]->forward.x = x;
  const i64 panel = layers_[0]->kernels.tile_columns;
  if (tasks_ == 1) {
    run_layers({0, N}, {0, H}, {0, P}, scratch_->data(), nullptr);
  } else if (by_rows_) {
    parallel_for(tasks_, [&](int task, int) {
      run_layers(part_of(N, 1, task, tasks_), {0, H}, {0, P}, scratch_->at(task), nullptr);
    });
  } else {
    team_run(tasks_, [&](int rank, int size, Barrier& barrier) {
      run_layers({0, N}, part_of(H, panel, rank, size), part_of(P, panel, rank, size), scratch_->at(rank),
                 size > 1 ? &barrier : nullptr);
    });
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    std::memcpy(h_ + static_cast<i64>(l) * N * P, layers_[l]->forward.y, N * P * sizeof(T));
  }
}

template class RnnStepper<float>;
template class RnnStepper<double>;

}  // namespace jadro
