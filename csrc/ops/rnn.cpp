#include "ops/rnn.h"

#include "core/philox.h"
#include "ops/dropout.h"
#include "ops/rnn_plan.h"
#include "ops/split.h"

namespace jadro {

template <class T>
void rnn_dropout(const RnnSizes& s, const RnnBatch& batch, i64 layer, const T* x, T* y) {
  const i64 width = s.directions * s.output;
  const u64 offset = s.offset + static_cast<u64>(layer * s.steps * s.batch * width);
  if (!batch.ragged()) return dropout(x, y, s.steps * s.batch * width, s.dropout, s.seed, offset);
  const Kernels<T>& k = kernels_of<T>();
  const u32 threshold = philox_threshold(static_cast<float>(s.dropout));
  const T keep = s.dropout < 1 ? static_cast<T>(1 - s.dropout) : T(1);
  parallel_ranges(s.steps, 1, 1, [&](Range times) {
    for (i64 n = 0; n < batch.rows(times.begin); ++n) {
      const i64 at = (batch.at(times.begin) + n) * width, place = times.begin * s.batch + batch.original(n);
      k.dropout(x + at, y + at, width, threshold, keep, s.seed, offset + static_cast<u64>(place * width));
    }
  });
}
template void rnn_dropout<float>(const RnnSizes&, const RnnBatch&, i64, const float*, float*);
template void rnn_dropout<double>(const RnnSizes&, const RnnBatch&, i64, const double*, double*);

namespace {

// The last state of every row, in the order of the call.
template <class T>
void last_states(const RnnDirection<T>& direction, T* hn) {
  const RnnSizes& s = direction.sizes;
  const RnnForward<T>& a = direction.forward;
  const i64 P = s.output;
  for (i64 n = 0; n < s.batch; ++n) {
    const i64 steps = direction.batch.length(n), t = direction.d == 1 ? 0 : steps - 1;
    const T* last = steps == 0 ? a.h0 + n * P : a.y + (direction.batch.at(t) + n) * a.shape.y_row;
    std::memcpy(hn + direction.batch.original(n) * P, last, P * sizeof(T));
  }
}

template <class T>
void forward_direction(const RnnStackForward<T>& call, const RnnBatch& batch, i64 layer, i64 d, const T* x, T* y,
                       const T* zeros) {
  const RnnStack<T>& s = call.stack;
  const RnnReserve r(s, batch.ragged(), batch.tokens());
  RnnDirection<T> direction(s, batch, layer, d, zeros);
  direction.pack_forward();
  RnnForward<T>& a = direction.forward;
  const i64 H = s.hidden, states = s.batch * H, k = s.settings.checkpoint, index = direction.index;
  const bool lstm = is_lstm(s.cell), keeps = call.reserve && k == 0, shows = call.cells && layer == s.layers - 1;
  T* const reserve = call.reserve ? call.reserve + r.saved_at(layer, d) : nullptr;
  T* const kept_cells = reserve ? reserve + r.saved : nullptr;
  const Scratch<T> own_cells(shows && (!reserve || k > 1) ? batch.tokens() * H : 0), cn(batch.ragged() ? states : 0);
  const bool states_only = reserve && lstm && k > 1;
  const i64 length = std::max<i64>(1, states_only ? std::min(k, s.steps) : std::min(s.steps, direction.steps_ahead()));
  const Scratch<T> ahead(keeps && r.raw ? 0 : direction.ahead_size(length));
  a.x = x;
  a.y = a.y_new = y + d * s.output;
  if (lstm) {
    a.cn = batch.ragged() ? cn.data() : call.cn + index * states;
    std::memcpy(a.cn, a.c0, states * sizeof(T));
  }
  T* const cells = reserve && k <= 1 ? kept_cells : shows ? own_cells.data() : nullptr;
  T* const raw = keeps ? kept_cells + r.cells : nullptr;
  for (i64 step = 0; step < s.steps; step += length) {
    const Range run{step, std::min(s.steps, step + length)};
    const i64 first = direction.tokens(run).begin;
    if (keeps) a.saved = reserve + first * rnn_saved_per_unit(s) * H;
    if (lstm && cells) a.cells = cells + first * H;
    if (keeps && r.raw) {
      a.raw_ih = raw + first * s.gates() * H;
      a.raw_hh = a.raw_ih + r.raw;
      a.stats = raw + 2 * r.raw + first * kRnnStats;
    }
    direction.run_forward(run, a.raw_ih ? a.raw_ih : ahead.data());
    if (states_only && run.end < s.steps) {
      std::memcpy(kept_cells + step / k * states, a.cn, states * sizeof(T));
    }
  }
  last_states(direction, call.hn + index * s.batch * s.output);
  if (lstm && batch.ragged()) batch.unsort_rows(a.cn, H, call.cn + index * states);
  if (shows) batch.scatter(cells, H, H, call.cells + d * H, s.directions * H);
}

}  // namespace

template <class T>
void rnn_forward(const RnnStackForward<T>& call) {
  const RnnStack<T>& s = call.stack;
  const Verbose<T> line("rnn_forward", rnn_cell_name(s.cell), [&] { return rnn_text(s); });
  const RnnBatch batch(s.steps, s.batch, s.directions, s.lengths, s.reset);
  const RnnReserve r(s, batch.ragged(), batch.tokens());
  const Scratch<T> zeros(s.batch * std::max(s.hidden, s.output));
  std::memset(zeros.data(), 0, s.batch * std::max(s.hidden, s.output) * sizeof(T));
  // Inference keeps the outputs of two layers at a time.
  const bool keep = call.reserve != nullptr, ragged = batch.ragged();
  const Scratch<T> outputs(keep || (s.layers == 1 && !ragged) ? 0 : 2 * r.output);
  const Scratch<T> sorted(ragged ? batch.tokens() * s.input : 0);
  if (ragged) batch.gather(s.x, s.input, s.input, sorted.data(), s.input);
  const T* x = ragged ? sorted.data() : s.x;
  for (i64 layer = 0; layer < s.layers; ++layer) {
    const bool last = layer == s.layers - 1;
    T* const y = last && !ragged ? call.y
                 : keep          ? call.reserve + r.output_at(layer)
                                 : outputs.data() + layer % 2 * r.output;
    for (i64 d = 0; d < s.directions; ++d) forward_direction(call, batch, layer, d, x, y, zeros.data());
    x = y;
    if (last || s.dropout == 0) continue;
    T* const dropped = keep ? y + r.output : y;
    rnn_dropout(s, batch, layer, y, dropped);
    x = dropped;
  }
  const i64 width = s.directions * s.output;
  if (ragged) batch.scatter(x, width, width, call.y, width);
}

template void rnn_forward<float>(const RnnStackForward<float>&);
template void rnn_forward<double>(const RnnStackForward<double>&);

}  // namespace jadro
