// How a recurrent call is laid out and shared: rows and tokens, the reserve, runs of steps, threads.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/rnn.h"

namespace jadro {

// Rows and tokens, and how they are shared and moved.
class RnnBatch : public RnnRows {
 public:
  using RnnRows::RnnRows;

  // The rows of one of `parts` threads: about as many tokens for each.
  Range part(i64 i, i64 parts) const;

  // [T,N,from_row..] -> [tokens,width] and back, with zeros where no token is; [N,width] in this order and back.
  template <class T>
  void gather(const T* from, i64 from_row, i64 width, T* to, i64 to_row) const;
  template <class T>
  void scatter(const T* from, i64 from_row, i64 width, T* to, i64 to_row) const;
  template <class T>
  void sort_rows(const T* from, i64 width, T* to) const;
  template <class T>
  void unsort_rows(const T* from, i64 width, T* to) const;
};

// Where the pieces of `reserve` stand. A layer: for each direction what the cell saves; then the layer's output where
// it is not y itself, and the same after dropout.
struct RnnReserve {
  i64 saved, cells, raw, stats, direction, output, dropped, layer;  // sizes; `direction` and `layer` are strides
  i64 directions, layers;
  bool keeps_last;

  RnnReserve(const RnnSizes& s, bool ragged, i64 tokens);
  i64 total() const { return layers * layer - (keeps_last ? 0 : output) - dropped; }
  i64 saved_at(i64 l, i64 d) const { return l * layer + d * direction; }
  i64 output_at(i64 l) const { return l * layer + directions * direction; }
  i64 next_input_at(i64 l) const { return output_at(l) + dropped; }
};

i64 rnn_saved_per_unit(const RnnSizes& s);  // numbers that a cell saves
i64 rnn_grads_per_unit(Cell cell);          // gradients of pre-activations that it makes
const char* rnn_cell_name(Cell cell);

template <class T>
std::string rnn_text(const RnnStack<T>& s) {  // T x N x I -> H, layers x directions
  return sizes_text({s.steps, s.batch, s.input}) + "->" + sizes_text({s.hidden}) + " " +
         sizes_text({s.layers, s.directions});
}

// One direction of one layer: what a run of its loop needs, but for the buffers that forward and backward bring.
template <class T>
class RnnDirection {
 public:
  RnnDirection(const RnnStack<T>& stack, const RnnBatch& batch, i64 layer, i64 d, const T* zeros);

  const RnnSizes& sizes;
  const RnnBatch& batch;
  const i64 layer, d, index;
  const Kernels<T>& kernels;  // the packing is that of one instruction set
  RnnForward<T> forward{};    // with weights once take_forward() or pack_forward() has been called
  RnnBackward<T> backward{};  // the same of take_backward()

  const T* weight(RnnParameter which) const { return stack_.weight(index, which); }
  void pack_forward();
  // Packed, or as they are where the call is so short that they are hardly used.
  void take_forward();
  void take_backward();
  // The run [run] of forward; `ahead` takes the projections where they are made first.
  void run_forward(Range run, T* ahead);
  void run_backward(Range run);
  // All steps of this direction and the other one at once, where the threads are shared out so.
  bool paired() const { return paired_; }
  void run_forward_with(RnnDirection& other);
  void run_backward_with(RnnDirection& other);
  Range tokens(Range run) const;
  // Whether the input's projections are made before the loop: layer norm wants whole rows of them.
  bool projects_ahead() const { return sizes.settings.layer_norm && !by_rows_ && tasks_ > 1; }
  i64 ahead_size(i64 steps) const { return projects_ahead() ? steps * step_size() : 0; }
  i64 steps_ahead() const;  // steps of a run whose projections have a bounded size

 private:
  i64 step_size() const { return sizes.batch * sizes.gates() * sizes.hidden; }
  bool unpacked_forward() const;
  bool unpacked_backward() const { return batch.tokens() <= 2 && !sizes.has_options(); }
  void fill(RnnRun<T>& run);
  void take_biases(T* to);  // [(G + 1) H]
  void pack_backward();
  void choose_share();
  void set_run(Range run);
  void loop_forward(RnnDirection* other);
  void loop_backward(RnnDirection* other);
  template <class Need, class Loop>
  void share_out(RnnDirection* other, Need need, Loop loop);

  const RnnStack<T>& stack_;
  const T* const zeros_;
  // How the time loop is shared out: by rows where every thread gets a few, else by panels of units with a barrier each
  // step, and not at all where a step is too small to meet for. Paired, each direction has half of the threads.
  int tasks_;
  bool by_rows_, paired_;
  RnnOptions<T> options_{};
  Scratch<T> states_, work_;
  std::unique_ptr<Scratch<T>> packed_forward_, packed_backward_;
};

// y = dropout(x) between layer and layer + 1: a mask's words stand in the order of all rows and steps.
template <class T>
void rnn_dropout(const RnnSizes& s, const RnnBatch& batch, i64 layer, const T* x, T* y);

}  // namespace jadro
