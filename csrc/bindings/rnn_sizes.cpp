// What the bindings of recurrent layers check alike on every device.
#include <algorithm>
#include <string>

#include "bindings/arrays.h"
#include "bindings/rnn.h"

namespace jadro {

Cell rnn_cell(const Call& call, const std::string& name) {
  if (name == "rnn_tanh") return Cell::kRnnTanh;
  if (name == "rnn_relu") return Cell::kRnnRelu;
  if (name == "lstm") return Cell::kLstm;
  if (name == "gru") return Cell::kGru;
  if (name == "lstm_coupled") return Cell::kLstmCoupled;
  if (name == "gru_reset_before") return Cell::kGruBefore;
  call.value_error("cell is '" + name + "', expected rnn_tanh, rnn_relu, lstm, gru, lstm_coupled or gru_reset_before");
}

Cell vanilla_cell(const Call& call, const std::string& nonlinearity) {
  if (nonlinearity == "tanh") return Cell::kRnnTanh;
  if (nonlinearity == "relu") return Cell::kRnnRelu;
  call.value_error("nonlinearity is '" + nonlinearity + "', expected tanh or relu");
}

RnnSizes rnn_sizes(const Call& call, Cell cell, i64 steps, i64 batch, i64 input, i64 hidden, i64 output,
                   const RnnCallOptions& o) {
  const auto text = [&] { return shape_text({steps, batch, input, hidden, output}); };
  double elements = 64.0 * static_cast<double>(o.layers);  // an upper bound of what one unit and step need
  for (i64 size : {steps, batch, std::max(hidden, output)}) elements *= static_cast<double>(std::max<i64>(size, 1));
  call.require(steps >= 0 && batch >= 0 && input >= 0 && hidden >= 1 && output >= 1 && elements < 4e18, [&] {
    return "T, N, I, H, P are " + text() + ", expected no negative size, units, and sizes that fit in memory";
  });
  call.require(output == hidden || (is_lstm(cell) && output < hidden), [&] {
    return "y has " + std::to_string(output) + " units a direction, expected " + std::to_string(hidden) +
           (is_lstm(cell) ? " or, projected, fewer" : "");
  });
  call.require(is_lstm(cell) || !o.settings.peephole,
               [&] { return std::string("peephole is true, expected it for an lstm alone"); });
  RnnSizes s{cell,         steps,  batch,     input,  hidden,   output,    o.layers,
             o.directions, o.bias, o.dropout, o.seed, o.offset, o.settings};
  if (!is_lstm(cell)) s.settings.zoneout_c = 0;
  return s;
}

std::vector<std::vector<i64>> rnn_parameter_shapes(const RnnSizes& s) {
  std::vector<std::vector<i64>> shapes;
  for (i64 index = 0; index < s.layers * s.directions; ++index) {
    for (int p = 0; p < kRnnParameters; ++p) {
      const auto which = static_cast<RnnParameter>(p);
      if (s.has(which)) shapes.push_back(s.shape(which, index / s.directions));
    }
  }
  return shapes;
}

}  // namespace jadro
