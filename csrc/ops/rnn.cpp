#include "ops/rnn.h"

#include <memory>

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

// One direction of one layer.
template <class T>
class Forward {
 public:
  Forward(const RnnStackForward<T>& call, const RnnBatch& batch, i64 layer, i64 d, const T* x, T* y, const T* zeros)
      : direction(call.stack, batch, layer, d, zeros),
        call(call),
        s(call.stack),
        r(s, batch.ragged(), batch.tokens()),
        lstm(is_lstm(s.cell)),
        keeps(call.reserve && s.settings.checkpoint == 0),
        shows(call.cells && layer == s.layers - 1),
        kept_states(call.reserve && lstm && s.settings.checkpoint > 1),
        reserve(call.reserve ? call.reserve + r.saved_at(layer, d) : nullptr),
        own_cells(shows && (!reserve || s.settings.checkpoint > 1) ? batch.tokens() * s.hidden : 0),
        cn(batch.ragged() ? s.batch * s.hidden : 0) {
    direction.take_forward();
    RnnForward<T>& a = direction.forward;
    a.x = x;
    a.y = a.y_new = y + d * s.output;
    const bool all_cells = reserve && s.settings.checkpoint <= 1;
    cells = all_cells ? reserve + r.saved : shows ? own_cells.data() : nullptr;
    if (!lstm) return;
    a.cn = batch.ragged() ? cn.data() : call.cn + direction.index * s.batch * s.hidden;
    std::memcpy(a.cn, a.c0, s.batch * s.hidden * sizeof(T));
  }

  // The steps that are done at once: those between two states that are kept, or as the projections allow.
  i64 run_length() const {
    return std::max<i64>(1, std::min(s.steps, kept_states ? s.settings.checkpoint : direction.steps_ahead()));
  }

  // Where a run's numbers go.
  void begin(Range run) {
    RnnForward<T>& a = direction.forward;
    const i64 first = direction.tokens(run).begin, H = s.hidden;
    if (keeps) a.saved = reserve + first * rnn_saved_per_unit(s) * H;
    if (lstm && cells) a.cells = cells + first * H;
    if (!keeps || !r.raw) return;
    T* const raw = reserve + r.saved + r.cells;
    a.raw_ih = raw + first * s.gates() * H;
    a.raw_hh = a.raw_ih + r.raw;
    a.stats = raw + 2 * r.raw + first * kRnnStats;
  }

  void run() {
    const i64 length = run_length(), states = s.batch * s.hidden;
    const Scratch<T> ahead(keeps && r.raw ? 0 : direction.ahead_size(length));
    for (i64 step = 0; step < s.steps; step += length) {
      const Range run{step, std::min(s.steps, step + length)};
      begin(run);
      direction.run_forward(run, direction.forward.raw_ih ? direction.forward.raw_ih : ahead.data());
      if (kept_states && run.end < s.steps) {
        std::memcpy(reserve + r.saved + step / length * states, direction.forward.cn, states * sizeof(T));
      }
    }
  }

  void finish() const {
    const i64 H = s.hidden, index = direction.index;
    last_states(direction, call.hn + index * s.batch * s.output);
    if (lstm && direction.batch.ragged()) direction.batch.unsort_rows(cn.data(), H, call.cn + index * s.batch * H);
    if (shows) direction.batch.scatter(cells, H, H, call.cells + direction.d * H, s.directions * H);
  }

  RnnDirection<T> direction;

 private:
  const RnnStackForward<T>& call;
  const RnnStack<T>& s;
  const RnnReserve r;
  const bool lstm, keeps, shows, kept_states;
  T* const reserve;
  T* cells;
  const Scratch<T> own_cells, cn;
};

template <class T>
void forward_layer(const RnnStackForward<T>& call, const RnnBatch& batch, i64 layer, const T* x, T* y, const T* zeros) {
  auto first = std::make_unique<Forward<T>>(call, batch, layer, 0, x, y, zeros);
  if (call.stack.directions == 1 || !first->direction.paired()) {
    first->run();
    first->finish();
    first.reset();  // its memory serves the second
    if (call.stack.directions == 1) return;
  }
  Forward<T> second(call, batch, layer, 1, x, y, zeros);
  if (first) {
    first->begin({0, call.stack.steps});
    second.begin({0, call.stack.steps});
    first->direction.run_forward_with(second.direction);
    first->finish();
  } else {
    second.run();
  }
  second.finish();
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
    forward_layer<T>(call, batch, layer, x, y, zeros.data());
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
