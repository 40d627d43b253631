#include "ops/rnn_plan.h"

#include "ops/split.h"

namespace jadro {

// A step costs as much as kStepRows rows even where fewer live: a thread gets rows until it costs what each of the
// others will.
Range RnnBatch::part(i64 i, i64 parts) const {
  if (!ragged()) return {batch_ * i / parts, batch_ * (i + 1) / parts};
  constexpr i64 kStepRows = 4;
  Range rows{0, 0};
  i64 left = tokens();
  for (i64 k = 0; k <= i; ++k) {
    const i64 others = parts - 1 - k;
    rows = {rows.end, others ? rows.end : batch_};
    i64 cost = rows.begin < batch_ ? kStepRows * length(rows.begin) : 0;
    while (rows.end < batch_ && cost * others < left + kStepRows * length(rows.end) * others) {
      cost += length(rows.end);
      left -= length(rows.end++);
    }
  }
  return rows;
}

template <class T>
void RnnBatch::gather(const T* from, i64 from_row, i64 width, T* to, i64 to_row) const {
  parallel_ranges(steps_, std::max<i64>(1, (1 << 14) / std::max<i64>(1, batch_ * width)), 1, [&](Range times) {
    for (i64 t = times.begin; t < times.end; ++t) {
      for (i64 n = 0; n < rows(t); ++n) {
        std::memcpy(to + (at(t) + n) * to_row, from + (t * batch_ + original(n)) * from_row, width * sizeof(T));
      }
    }
  });
}

template <class T>
void RnnBatch::scatter(const T* from, i64 from_row, i64 width, T* to, i64 to_row) const {
  parallel_ranges(steps_, std::max<i64>(1, (1 << 14) / std::max<i64>(1, batch_ * width)), 1, [&](Range times) {
    for (i64 t = times.begin; t < times.end; ++t) {
      for (i64 n = 0; n < batch_; ++n) {
        T* const row = to + (t * batch_ + original(n)) * to_row;
        if (n < rows(t)) {
          std::memcpy(row, from + (at(t) + n) * from_row, width * sizeof(T));
        } else {
          std::memset(row, 0, width * sizeof(T));
        }
      }
    }
  });
}

template <class T>
void RnnBatch::sort_rows(const T* from, i64 width, T* to) const {
  for (i64 n = 0; n < batch_; ++n) std::memcpy(to + n * width, from + original(n) * width, width * sizeof(T));
}

template <class T>
void RnnBatch::unsort_rows(const T* from, i64 width, T* to) const {
  for (i64 n = 0; n < batch_; ++n) std::memcpy(to + original(n) * width, from + n * width, width * sizeof(T));
}

i64 rnn_saved_per_unit(const RnnSizes& s) {
  switch (s.cell) {
    case Cell::kLstm:
    case Cell::kGru:
      return 4;
    case Cell::kLstmCoupled:
    case Cell::kGruBefore:
      return 3;
    default:
      return s.has_options() ? 1 : 0;
  }
}

i64 rnn_grads_per_unit(Cell cell) { return cell == Cell::kGru ? 4 : gates_of(cell); }

const char* rnn_cell_name(Cell cell) {
  switch (cell) {
    case Cell::kRnnTanh:
      return "rnn_tanh";
    case Cell::kRnnRelu:
      return "rnn_relu";
    case Cell::kLstm:
      return "lstm";
    case Cell::kLstmCoupled:
      return "lstm_coupled";
    case Cell::kGru:
      return "gru";
    case Cell::kGruBefore:
      return "gru_reset_before";
  }
  return "";
}

RnnReserve::RnnReserve(const RnnSizes& s, bool ragged, i64 tokens) : directions(s.directions), layers(s.layers) {
  const i64 states = tokens * s.hidden, k = s.settings.checkpoint;
  saved = k ? 0 : states * rnn_saved_per_unit(s);
  cells = !is_lstm(s.cell) ? 0 : k <= 1 ? states : (s.steps - 1) / k * s.batch * s.hidden;
  raw = s.settings.layer_norm && !k ? states * s.gates() : 0;
  stats = s.settings.layer_norm && !k ? tokens * kRnnStats : 0;
  direction = saved + cells + 2 * raw + stats;
  output = tokens * s.directions * s.output;
  dropped = s.dropout > 0 ? output : 0;
  layer = directions * direction + output + dropped;
  keeps_last = ragged;
}

i64 rnn_reserve_size(const RnnSizes& sizes, bool ragged, i64 tokens) {
  return RnnReserve(sizes, ragged, tokens).total();
}

template void RnnBatch::gather<float>(const float*, i64, i64, float*, i64) const;
template void RnnBatch::gather<double>(const double*, i64, i64, double*, i64) const;
template void RnnBatch::scatter<float>(const float*, i64, i64, float*, i64) const;
template void RnnBatch::scatter<double>(const double*, i64, i64, double*, i64) const;
template void RnnBatch::sort_rows<float>(const float*, i64, float*) const;
template void RnnBatch::sort_rows<double>(const double*, i64, double*) const;
template void RnnBatch::unsort_rows<float>(const float*, i64, float*) const;
template void RnnBatch::unsort_rows<double>(const double*, i64, double*) const;

}  // namespace jadro
