#pragma once

#include <limits>
#include <vector>

#include "core/kernel_table.h"

namespace jadro {

// The parameters of one direction of a layer, in the order in which they come; see RnnParameters for which are there.
enum RnnParameter : int {
  kWeightIh,
  kWeightHh,
  kBiasIh,
  kBiasHh,
  kWeightHr,
  kPeepI,
  kPeepF,
  kPeepO,
  kGainIh,
  kNormBiasIh,
  kGainHh,
  kNormBiasHh,
  kGainC,
  kNormBiasC,
  kRnnParameters
};

// The options of a call. Probabilities are 0 and bounds infinite where they are off; checkpoint 0 keeps everything for
// backward, k the states of every k-th step.
struct RnnSettings {
  bool layer_norm = false, peephole = false, training = false, update = false;
  double gate_clip = std::numeric_limits<double>::infinity(), cell_clip = gate_clip;
  double zoneout_h = 0, zoneout_c = 0, recurrent_dropout = 0;
  i64 checkpoint = 0;

  bool changes_cell(Cell cell, bool projected) const {
    return layer_norm || peephole || projected || cell == Cell::kLstmCoupled || cell == Cell::kGruBefore ||
           gate_clip < std::numeric_limits<double>::infinity() || cell_clip < std::numeric_limits<double>::infinity() ||
           zoneout_h > 0 || zoneout_c > 0 || (training && recurrent_dropout > 0);
  }
};

// The sizes of a whole recurrent layer call: `layers` layers of `directions` directions over [steps, batch, input].
struct RnnSizes {
  Cell cell;
  i64 steps, batch, input, hidden, output, layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
  RnnSettings settings;

  i64 gates() const { return gates_of(cell); }
  i64 layer_input(i64 layer) const { return layer == 0 ? input : directions * output; }
  bool projected() const { return output != hidden; }
  bool has_options() const { return settings.changes_cell(cell, projected()); }
  bool has(RnnParameter which) const;
  i64 place(RnnParameter which) const;  // among those that are there
  i64 parameters() const { return place(kRnnParameters); }
  std::vector<i64> shape(RnnParameter which, i64 layer) const;
};

// Pointers may be null where _core.pyi allows None.
template <class T>
struct RnnStack : RnnSizes {
  const T *x, *h0, *c0, *reset_h, *reset_c;
  const T* const* weights;
  const i64* lengths;          // [N]
  const unsigned char* reset;  // [T,N]

  const T* weight(i64 index, RnnParameter which) const {
    return this->has(which) ? weights[index * this->parameters() + this->place(which)] : nullptr;
  }
};

template <class T>
struct RnnStackForward {
  RnnStack<T> stack;
  T *y, *hn, *cn, *cells, *reserve;
};

template <class T>
struct RnnStackBackward {
  RnnStack<T> stack;
  const T *y, *reserve, *dy, *dhn, *dcn, *dcells;
  T *dx, *dh0, *dc0, *dreset_h, *dreset_c;
  T* const* dweights;
};

// Elements of `reserve` for `tokens` live rows of all steps together.
i64 rnn_reserve_size(const RnnSizes& sizes, bool ragged, i64 tokens);

template <class T>
void rnn_forward(const RnnStackForward<T>& call);
template <class T>
void rnn_backward(const RnnStackBackward<T>& call);

}  // namespace jadro
