// What a call of recurrent layers is made of, on any device: parameters, options, sizes, arrays, rows and tokens.
#pragma once

#include <limits>
#include <vector>

#include "core/shapes.h"

namespace jadro {

// The parameters of one direction of a layer, in the order in which they come; see RnnSizes::has for which are there.
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

// Rows and tokens of a call. With lengths, rows stand the longest first and tokens of one step side by side, so that a
// step's live rows are the first ones; without, everything stands as it came.
class RnnRows {
 public:
  RnnRows(i64 steps, i64 batch, i64 directions, const i64* lengths, const unsigned char* reset);

  bool ragged() const { return !first_.empty(); }
  i64 tokens() const { return ragged() ? first_.back() : steps_ * batch_; }
  const i64* first() const { return ragged() ? first_.data() : nullptr; }
  const i64* order() const { return ragged() ? order_.data() : nullptr; }
  i64 original(i64 row) const { return ragged() ? order_[row] : row; }
  i64 length(i64 row) const { return ragged() ? lengths_[order_[row]] : steps_; }
  i64 at(i64 t) const { return ragged() ? first_[t] : t * batch_; }
  i64 rows(i64 t) const { return ragged() ? first_[t + 1] - first_[t] : batch_; }
  bool resets() const { return reset_ != nullptr; }
  // By token of a direction: whether the row starts anew there; by step, whether any does.
  const unsigned char* restart(i64 d) const { return resets() ? restart_[d].data() : nullptr; }
  const unsigned char* any_restart(i64 d) const { return resets() ? any_[d].data() : nullptr; }

 protected:
  i64 steps_, batch_;
  const i64* lengths_;
  const unsigned char* reset_;
  std::vector<i64> order_, first_;
  std::vector<unsigned char> restart_[2], any_[2];
};

}  // namespace jadro
