#include "core/rnn_layout.h"

#include <algorithm>
#include <numeric>

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

RnnRows::RnnRows(i64 steps, i64 batch, i64 directions, const i64* lengths, const unsigned char* reset)
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

}  // namespace jadro
