#include "ops/rnn_plan.h"

#include <numeric>

#include "ops/split.h"

namespace jadro {

bool RnnSizes::has(RnnParameter which) const {
  switch (which) {
    case kBiasIh:
    case kBiasHh:
      return bias;
    case kWeightHr:
      return projected();
    case kPeepI:
    case kPeepO:
      return settings.peephole;
    case kPeepF:
      return settings.peephole && cell != Cell::kLstmCoupled;
    case kGainIh:
    case kNormBiasIh:
    case kGainHh:
    case kNormBiasHh:
      return settings.layer_norm;
    case kGainC:
    case kNormBiasC:
      return settings.layer_norm && is_lstm(cell);
    default:
      return true;
  }
}

i64 RnnSizes::place(RnnParameter which) const {
  i64 place = 0;
  for (int p = 0; p < which; ++p) place += has(static_cast<RnnParameter>(p));
  return place;
}

std::vector<i64> RnnSizes::shape(RnnParameter which, i64 layer) const {
  switch (which) {
    case kWeightIh:
      return {gates() * hidden, layer_input(layer)};
    case kWeightHh:
      return {gates() * hidden, output};
    case kWeightHr:
      return {output, hidden};
    case kPeepI:
    case kPeepF:
    case kPeepO:
    case kGainC:
    case kNormBiasC:
      return {hidden};
    default:
      return {gates() * hidden};
  }
}

RnnBatch::RnnBatch(i64 steps, i64 batch, i64 directions, const i64* lengths, const unsigned char* reset)
    : steps_(steps), batch_(batch), lengths_(lengths), reset_(reset) {
  if (lengths) {
    order_.resize(batch);
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](i64 a, i64 b) { return lengths[a] > lengths[b]; });
    first_.resize(steps + 1);
    i64 alive = batch;
    for (i64 t = 0; t < steps; ++t) {
      while (alive > 0 && lengths[order_[alive - 1]] <= t) --alive;
      first_[t + 1] = first_[t] + alive;
    }
  }
  if (!reset) return;
  for (i64 d = 0; d < directions; ++d) {
    restart_[d].resize(tokens());
    any_[d].resize(steps);
    for (i64 t = 0; t < steps; ++t) {
      const i64 cut = d == 0 ? t : t + 1;  // the reverse direction reaches t from behind the cut
      for (i64 n = 0; n < rows(t) && cut < steps; ++n) {
        const bool anew = cut < length(n) && reset[cut * batch + original(n)];
        restart_[d][at(t) + n] = anew;
        any_[d][t] |= anew;
      }
    }
  }
}

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
