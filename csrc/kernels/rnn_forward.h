// The time loop forward, for a range of rows and of units of one direction of one layer: a run of steps.
//
// Rows of the batch are independent, so threads either own rows and never meet, or, where the batch is small, own units
// and meet at a barrier each step. The values do not depend on who computes them. A cell takes the tiles of its gates
// as they are made. What needs whole rows (layer norm, the projection, the reset before the product) goes by row
// buffers that the threads share, with a meeting behind each.
#pragma once

#include "kernels/rnn_project.h"

namespace jadro {
namespace {

template <class T>
i64 rnn_forward_scratch(const Rnn& s, i64 rows, i64 units, bool options) {
  const i64 steps = chunk_steps<T>(s, rows, units), wide = max(s.hidden, s.output);
  const i64 extra = options ? 2 * s.output + 3 * wide + kRnnStats : 0;
  const i64 input = s.input + whole_vectors<T>(s.input);
  return rows * (whole_vectors<T>(wide) + s.output + extra) + steps * rows * (input + s.gates() * units);
}

template <class T, class C>
class ForwardRun : LoopShare<T, C, RnnForward<T>> {
 public:
  ForwardRun(const RnnForward<T>& a, Range rows, Range units, Range outs, T* scratch, Barrier* barrier)
      : Share(a, rows, units, outs, barrier),
        chunk(a.in ? 0 : chunk_steps<T>(s, rows.end - rows.begin, width())),
        made(scratch),
        packed_h(made + chunk * height() * C::kGates * width()),
        copied(packed_h + height() * whole_vectors<T>(max(s.hidden, s.output))),
        masked(copied + height() * s.output),
        sequence(masked + height() * s.output),
        stats(sequence + height() * s.output),
        masks(o, C::kHasCell, height(), units, outs, stats + height() * kRnnStats),
        packed_x(C::kOptions ? stats + height() * (kRnnStats + 2 * width() + (outs.end - outs.begin)) : masked),
        together_x(packed_x + chunk * height() * whole_vectors<T>(s.input)) {}

  void run() {
    if (C::kOptions && o->sequence()) draw_sequence_mask(*o, s, rows, {0, s.output}, sequence);
    i64 low = 0, ready = 0;  // the projections of the times [low, low + ready) are made
    for (i64 step = a.run.begin; step < a.run.end; ++step) {
      const i64 t = s.time(step);
      const Range live = live_rows(t);
      if (live.begin >= live.end) continue;
      Rows<T> in{nullptr, C::kGates * s.hidden};
      i64 in_gate = s.hidden;
      if (a.in) {
        in.at = a.in + (s.at(t) + live.begin - a.origin) * in.row + units.begin;
      } else {
        if (ready == 0 || t < low || t >= low + ready) {
          ready = steps_of_room(step);
          low = s.reverse ? t - ready + 1 : t;
          project(low, ready);
        }
        in = {made + rows_between(low, t) * C::kGates * width(), C::kGates * width()};
        in_gate = width();
        if (a.raw_ih) {  // layer norm, which wants a thread to own all units
          const i64 size = C::kGates * s.hidden;
          std::memcpy(a.raw_ih + (s.at(t) + live.begin - a.origin) * size, in.at,
                      (live.end - live.begin) * size * sizeof(T));
        }
      }
      this->step(t, live, in, in_gate);
      meet();
    }
  }

 private:
  using Share = LoopShare<T, C, RnnForward<T>>;
  using Share::a, Share::s, Share::o, Share::rows, Share::units, Share::outs, Share::bounds;
  using Share::height, Share::width, Share::live_rows, Share::normed, Share::meet, Share::extra, Share::far_weights;

  // Rows and units of the cells to be done, and the recurrent products of their gates.
  struct Tile {
    i64 row, rows, unit, width;
    T* rec;
    i64 rec_row, rec_gate;
  };

  // The thread's live rows of the times [from, to).
  i64 rows_between(i64 from, i64 to) const {
    if (!s.first) return (to - from) * height();
    if (height() == s.batch) return s.at(to) - s.at(from);
    i64 count = 0;
    for (i64 t = from; t < to; ++t) count += max(0, min(rows.end, s.rows(t)) - rows.begin);
    return count;
  }

  // How many steps from `step` on have projections that `made` holds.
  i64 steps_of_room(i64 step) const {
    i64 room = chunk * height(), steps = 0;
    for (; step + steps < a.run.end; ++steps) {
      const i64 t = s.time(step + steps);
      room -= rows_between(t, t + 1);
      if (room < 0) break;
    }
    return steps;
  }

  // The projections of some steps: one tall matrix of the live rows of all of them, copied together where others stand
  // between them.
  void project(i64 low, i64 steps) {
    const i64 last = low + steps - 1, first_token = s.at(low) + rows.begin;
    const bool together = height() == s.batch;
    const T* x = a.x + first_token * s.x_row;
    i64 count = together ? s.at(last) + s.rows(last) - first_token : 0;
    for (i64 t = low; t <= last && !together; ++t) {
      const i64 live = min(rows.end, s.rows(t)) - rows.begin;
      for (i64 r = 0; r < live; ++r, ++count) {
        std::memcpy(together_x + count * s.input, a.x + (s.at(t) + rows.begin + r) * s.x_row, s.input * sizeof(T));
      }
    }
    project_rows(a, together ? x : together_x, together ? s.x_row : s.input, count, units, packed_x, made);
  }

  // h of the step before: where it stands, or gathered where its rows come from several places.
  Rows<T> entering(i64 t, Range live) const {
    const bool regular = !restarts<T>(a, t) && s.begins(t, live.begin) == s.begins(t, live.end - 1);
    if (regular) return {h_before<T>(a, a.y, t, live.begin), s.begins(t, live.begin) ? s.output : s.y_row};
    for (i64 n = live.begin; n < live.end; ++n) {
      std::memcpy(copied + (n - live.begin) * s.output, h_before<T>(a, a.y, t, n), s.output * sizeof(T));
    }
    return {copied, s.output};
  }

  void restart_cells(i64 t, Range live) const {
    for (i64 n = live.begin; n < live.end; ++n) {
      if (!a.restart[s.at(t) + n]) continue;
      std::memcpy(a.cn + n * s.hidden + units.begin, a.c_restart + n * s.hidden + units.begin, width() * sizeof(T));
    }
  }

  Rows<T> drop_entering(const Rows<T>& h, Range live) const {
    for (i64 r = 0; r < live.end - live.begin; ++r) {
      for_vectors<T>(s.output, [&](i64 j, i64 count) {
        const Vec<T> v = load_n(h[r] + j, count) * load_n(sequence + r * s.output + j, count);
        store_n(masked + r * s.output + j, v, count);
      });
    }
    return {masked, s.output};
  }

  void step(i64 t, Range live, const Rows<T>& in, i64 in_gate) {
    const RowPanels panels(live.end - live.begin);
    const Rows<T> h = entering(t, live);
    if (C::kHasCell && restarts<T>(a, t)) restart_cells(t, live);
    Rows<T> u = h;
    if constexpr (C::kOptions) {
      if (o->sequence()) u = drop_entering(h, live);
      masks.draw(s, t, live);
    }
    if (C::kBefore || normed()) {
      if constexpr (C::kOptions) step_by_rows(t, live, panels, in, in_gate, h, u);
    } else {
      step_by_tiles(t, live, panels, in, in_gate, h, u);
    }
    if constexpr (C::kOptions && C::kHasCell) {
      if (o->gain_c) normed_cells(t, live, h);
      if (a.w_hr && a.y_new) project_states(t, live, panels, h);
    }
  }

  void step_by_tiles(i64 t, Range live, const RowPanels& panels, const Rows<T>& in, i64 in_gate, const Rows<T>& h,
                     const Rows<T>& u) {
    if (a.unpacked || live.end - live.begin <= kFewRows) return step_of_few(t, live, in, in_gate, h, u);
    alignas(64) T rec[C::kGates * kMr * kNr<T>];
    const PackedRows<T> packed_u = pack_rows(u, s.output, panels, far_weights(), packed_h);
    constexpr i64 kL1Bytes = 64 << 10;
    const bool touches = (live.end - live.begin) * C::kGates * width() * static_cast<i64>(sizeof(T)) > kL1Bytes;
    for (i64 unit = units.begin; unit < units.end; unit += kNr<T>) {
      const i64 tile_width = min(kNr<T>, units.end - unit);
      for (i64 p = 0; p < panels.count; ++p) {
        const i64 r0 = panels.start(p), tile_rows = panels.size(p);
        const Micro<T> kernel = packed_u.multiply(p, tile_width);
        if (touches) {
          touch_cells(t, live.begin + r0, tile_rows, unit, tile_width, {in[r0] + unit - units.begin, in.row}, in_gate);
        }
        for (int g = 0; g < C::kGates; ++g) {
          kernel(s.output, packed_u.panel(p), tile_rows, recurrent_panel(g, unit), nullptr, rec + g * kMr * kNr<T>,
                 nullptr);
        }
        const Tile tile{r0, tile_rows, unit, tile_width, rec, kNr<T>, kMr * kNr<T>};
        cells(t, live, tile, {in[r0] + unit - units.begin, in.row}, in_gate, h);
      }
    }
  }

  // Asks for what the cells of a tile will read, before the products that they wait for.
  JADRO_INLINE void touch_cells(i64 t, i64 n, i64 tile_rows, i64 unit, i64 tile_width, const Rows<T>& in,
                                i64 in_gate) const {
    for (i64 r = 0; r < tile_rows; ++r) {
      for (i64 j = 0; j < tile_width; j += kLanes<T>) {
        for (int g = 0; g < C::kGates; ++g) __builtin_prefetch(in[r] + g * in_gate + j);
        if (C::kHasCell) __builtin_prefetch(a.cn + (n + r) * s.hidden + unit + j, 1);
        if (a.y_new) __builtin_prefetch(a.y_new + (s.at(t) + n + r) * s.y_row + unit + j, 1);
      }
    }
  }

  const T* recurrent_panel(int gate, i64 unit) const {
    return a.w_hh + (gate * unit_panels<T>(s.hidden) + unit / kNr<T>)*s.output * kNr<T>;
  }

  __attribute__((noinline)) void step_of_few(i64 t, Range live, const Rows<T>& in, i64 in_gate, const Rows<T>& h,
                                             const Rows<T>& u) {
    alignas(64) T rec[C::kGates * kMr * kNr<T>];
    const i64 count = live.end - live.begin, panel_size = s.output * kNr<T>;
    for (i64 unit = units.begin; unit < units.end; unit += kNr<T>) {
      const i64 tile_width = min(kNr<T>, units.end - unit);
      for (i64 r0 = 0; r0 < count; r0 += kMr) {
        const i64 rows_here = min(kMr, count - r0);
        if (a.unpacked) {
          for (int g = 0; g < C::kGates; ++g) {
            const T* const w = a.w_hh + (g * s.hidden + unit) * s.output;
            unpacked_product<T>(rows_here, {u[r0], u.row}, s.output, w, tile_width, nullptr, rec + g * kMr * kNr<T>,
                                kNr<T>);
          }
        } else {
          few_rows<T, C::kGates>(rows_here, u, s.output, recurrent_panel(0, unit),
                                 unit_panels<T>(s.hidden) * panel_size, rec);
        }
        const Tile tile{r0, rows_here, unit, tile_width, rec, kNr<T>, kMr * kNr<T>};
        cells(t, live, tile, {in[r0] + unit - units.begin, in.row}, in_gate, h);
      }
    }
  }

  JADRO_INLINE void cells(i64 t, Range live, const Tile& tile, const Rows<T>& in, i64 in_gate, const Rows<T>& h) {
    for (i64 r = 0; r < tile.rows; ++r) {
      if constexpr (C::kOptions) {
        option_cell(t, live, tile, tile.row + r, tile.rec + r * tile.rec_row, in[r], in_gate, h[tile.row + r]);
      } else {
        plain_cell(t, live.begin + tile.row + r, tile, tile.rec + r * tile.rec_row, in[r], in_gate, h[tile.row + r]);
      }
    }
    if constexpr (!C::kOptions && C::kHasCell) {
      if (a.y_new) show_cells(t, live.begin + tile.row, tile);
    }
  }

  JADRO_INLINE void plain_cell(i64 t, i64 n, const Tile& tile, T* rec, const T* in, i64 in_gate, const T* h_prev) {
    const i64 H = s.hidden, token = s.at(t) + n, unit = tile.unit;
    T* y = a.y_new && !C::kHasCell ? a.y_new + token * s.y_row + unit : nullptr;
    T* c = C::kHasCell ? a.cn + n * H + unit : nullptr;
    T* kept = C::kHasCell && a.cells ? a.cells + (token - a.origin) * H + unit : nullptr;
    T* saved = C::kSaved && a.saved ? a.saved + (token - a.origin) * C::kSaved * H + unit : nullptr;
    for_vectors<T>(tile.width, [&](i64 j, i64 count) __attribute__((always_inline)) {
      Vec<T> vin[C::kGates], vrec[C::kGates], vsaved[C::kSaved + 1];
#pragma GCC unroll 4
      for (int g = 0; g < C::kGates; ++g) {
        vin[g] = load_n(in + g * in_gate + j, count);
        vrec[g] = load(rec + g * tile.rec_gate + j);
      }
      if constexpr (C::kHasCell) {
        const Vec<T> made = C::next_cell(vin, vrec, load_n(c + j, count), vsaved);
        store_n(c + j, made, count);
        if (kept) store_n(kept + j, made, count);
        store(rec + j, vsaved[C::kO]);
      } else {
        if (C::kRecurrentBias && a.bias_n) vrec[C::kGates - 1] += load_n(a.bias_n + unit + j, count);
        const Vec<T> h = C::kRecurrentBias ? load_n(h_prev + unit + j, count) : Vec<T>{};
        Vec<T> h_out, none;
        C::forward(vin, vrec, h, Vec<T>{}, &h_out, &none, vsaved);
        if (y) store_n(y + j, h_out, count);
      }
      if (saved) {
#pragma GCC unroll 4
        for (int g = 0; g < C::kSaved; ++g) store_n(saved + g * H + j, vsaved[g], count);
      }
    });
  }

  // h of the tile's cells, whose o stands where their first gate's product was. A loop of its own: each cell waits long
  // for its c, and no processor looks far enough ahead to fill that time with the next.
  JADRO_INLINE void show_cells(i64 t, i64 n, const Tile& tile) {
    T* y = a.y_new + (s.at(t) + n) * s.y_row + tile.unit;
    const T* c = a.cn + n * s.hidden + tile.unit;
    for (i64 r = 0; r < tile.rows; ++r, y += s.y_row, c += s.hidden) {
      for_vectors<T>(tile.width, [&](i64 j, i64 count) {
        store_n(y + j, C::shown(load(tile.rec + r * tile.rec_row + j), load_n(c + j, count)), count);
      });
    }
  }

  // --- with options ---

  enum WorkRow { kCellRow, kShownRow, kResetRow, kUpdateRow, kRawRows };  // c~ or r h; o, then o tanh c; r; z; U h
  T* work(WorkRow which, i64 n) const { return a.work + (which * s.batch + n) * s.hidden; }
  T* raw_row(i64 t, i64 n) const {
    const i64 size = C::kGates * s.hidden;
    return a.raw_hh ? a.raw_hh + (s.at(t) + n - a.origin) * size : a.work + kRawRows * s.batch * s.hidden + n * size;
  }

  // Layer norm of gates [g0, g1), biases added.
  JADRO_INLINE void normalise(const T* st, int g0, int g1, i64 u, i64 count, Vec<T>* in, Vec<T>* rec) const {
    for (int g = g0; g < g1; ++g) {
      const T *m = st + stats_at(0, C::group(g)), *k = st + stats_at(1, C::group(g));
      const i64 at = g * s.hidden + u;
      in[g] = RowNorm<T>{m[0], m[1]}(in[g]) * load_n(o->gain_ih + at, count) + load_n(a.bias + at, count);
      rec[g] = RowNorm<T>{k[0], k[1]}(rec[g]) * load_n(o->gain_hh + at, count);
    }
  }

  // What the gates [g0, g1) of a cell are made of.
  JADRO_INLINE void sums(i64 r, int g0, int g1, i64 u, i64 j, i64 count, const T* rec, i64 rec_gate, const T* in,
                         i64 in_gate, Vec<T>* vin, Vec<T>* vrec) const {
    for (int g = g0; g < g1; ++g) {
      vin[g] = load_n(in + g * in_gate + j, count);
      vrec[g] = load_n(rec + g * rec_gate + j, count);
    }
    if (normed()) normalise(stats + r * kRnnStats, g0, g1, u, count, vin, vrec);
    if (C::kRecurrentBias && a.bias_n && g1 == C::kGates) vrec[g1 - 1] += load_n(a.bias_n + u, count);
  }

  JADRO_INLINE void save(i64 t, i64 n, i64 u, i64 count, int g0, int g1, const Vec<T>* values) const {
    if (!a.saved) return;
    T* to = a.saved + (s.at(t) + n - a.origin) * C::kSaved * s.hidden + u;
    for (int g = g0; g < g1; ++g) store_n(to + g * s.hidden, values[g], count);
  }

  // h~ [P] of some units becomes h.
  JADRO_INLINE void give_state(i64 t, i64 n, i64 r, i64 u, i64 count, Vec<T> h, const T* h_old) const {
    if (masks.keep_h) {
      h = mixed<T>(load_n(masks.keep_h + r * masks.out_width() + u - outs.begin, count), load_n(h_old + u, count), h);
    }
    store_n(a.y_new + (s.at(t) + n) * s.y_row + u, h, count);
  }
  JADRO_INLINE void give(i64 t, i64 n, i64 r, i64 u, i64 count, Vec<T> h, const T* h_old) const {
    if (C::kHasCell && a.w_hr) {
      store_n(work(kShownRow, n) + u, h, count);
    } else if (a.y_new) {
      give_state(t, n, r, u, count, h, h_old);
    }
  }

  void option_cell(i64 t, Range live, const Tile& tile, i64 r, const T* rec, const T* in, i64 in_gate,
                   const T* h_old) const {
    const i64 n = live.begin + r, H = s.hidden;
    for_vectors<T>(tile.width, [&](i64 j, i64 count) {
      const i64 u = tile.unit + j;
      Vec<T> vin[C::kGates], vrec[C::kGates], saved[C::kSaved];
      sums(r, 0, C::kGates, u, j, count, rec, tile.rec_gate, in, in_gate, vin, vrec);
      const Extra<T> e = extra(masks, r, u, count);
      if constexpr (C::kHasCell) {
        for (int g = 0; g < C::kGates; ++g) vin[g] += vrec[g];
        T* const c = a.cn + n * H + u;
        const Vec<T> old = load_n(c, count), made = C::forward(vin, old, e, bounds, saved);
        const Vec<T> kept = masks.keep_c ? mixed<T>(e.keep_c, old, made) : made;
        store_n(c, kept, count);
        if (a.cells) store_n(a.cells + (s.at(t) + n - a.origin) * H + u, kept, count);
        if (o->gain_c) {
          store_n(work(kCellRow, n) + u, made, count);
          store_n(work(kShownRow, n) + u, saved[C::kO], count);
        } else {
          give(t, n, r, u, count, saved[C::kO] * vtanh<T>(made), h_old);
        }
      } else {
        give(t, n, r, u, count, C::forward(vin, vrec, load_n(h_old + u, count), e, bounds, saved), h_old);
      }
      save(t, n, u, count, 0, C::kSaved, saved);
    });
  }

  // The recurrent products of gates [g0, g1), stored by rows of all gates.
  void multiply(const Rows<T>& left, i64 depth, int g0, int g1, const RowPanels& panels, T* raw) const {
    const PackedRows<T> packed = pack_rows(left, depth, panels, false, packed_h);
    for (int g = g0; g < g1; ++g) {
      const T* w = a.w_hh + (g * unit_panels<T>(s.hidden) + units.begin / kNr<T>)*depth * kNr<T>;
      T* const to = raw + g * s.hidden + units.begin;
      multiply_panels<T>(packed, w, depth, width(), nullptr, false, to, C::kGates * s.hidden);
    }
  }

  // Moments of a side's group of gates, for whole rows: every thread's numbers are its own.
  void measure(i64 t, Range live, int side, int group, const Rows<T>& values) const {
    const i64 first = group == 0 ? 0 : 2 * s.hidden;
    const i64 size = C::group(C::kGates - 1) == 0 ? C::kGates * s.hidden : group == 0 ? 2 * s.hidden : s.hidden;
    for (i64 r = 0; r < live.end - live.begin; ++r) {
      T* const st = stats + r * kRnnStats + stats_at(side, group);
      moments(values[r] + first, size, st);
      keep_moments(t, live.begin + r, stats_at(side, group), st);
    }
  }
  void keep_moments(i64 t, i64 n, i64 at, const T* values) const {
    if (a.stats && units.begin == 0) {
      std::memcpy(a.stats + (s.at(t) + n - a.origin) * kRnnStats + at, values, 2 * sizeof(T));
    }
  }

  void step_by_rows(i64 t, Range live, const RowPanels& panels, const Rows<T>& in, i64 in_gate, const Rows<T>& h,
                    const Rows<T>& u) {
    constexpr int kGroups = C::group(C::kGates - 1) + 1;
    T* const raw = raw_row(t, live.begin);
    const Rows<T> rec{raw, C::kGates * s.hidden};
    multiply(u, s.output, 0, C::kBefore ? 2 : C::kGates, panels, raw);
    if (normed()) {
      meet();
      for (int group = 0; group < kGroups; ++group) measure(t, live, 0, group, {in.at - units.begin, in.row});
      for (int group = 0; group < (C::kBefore ? 1 : kGroups); ++group) measure(t, live, 1, group, rec);
    }
    const Tile tile{0, live.end - live.begin, units.begin, width(), raw + units.begin, rec.row, s.hidden};
    if constexpr (C::kBefore) {
      reset_gates(t, live, tile, in, in_gate, u);
      meet();
      multiply({work(kCellRow, live.begin), s.hidden}, s.hidden, 2, 3, panels, raw);
      if (normed()) {
        meet();
        measure(t, live, 1, 1, rec);
      }
      reset_results(t, live, tile, in, in_gate, h);
    } else {
      cells(t, live, tile, in, in_gate, h);
    }
  }

  // r, z and r h of the GRU that resets before the product.
  void reset_gates(i64 t, Range live, const Tile& tile, const Rows<T>& in, i64 in_gate, const Rows<T>& h) const {
    for (i64 r = 0; r < tile.rows; ++r) {
      const i64 n = live.begin + r;
      for_vectors<T>(tile.width, [&](i64 j, i64 count) {
        const i64 u = tile.unit + j;
        Vec<T> vin[3], vrec[3], saved[3];
        sums(r, 0, 2, u, j, count, tile.rec + r * tile.rec_row, tile.rec_gate, in[r], in_gate, vin, vrec);
        C::gates(vin, vrec, bounds, saved);
        store_n(work(kResetRow, n) + u, saved[0], count);
        store_n(work(kUpdateRow, n) + u, saved[1], count);
        store_n(work(kCellRow, n) + u, saved[0] * load_n(h[r] + u, count), count);
        save(t, n, u, count, 0, 2, saved);
      });
    }
  }
  void reset_results(i64 t, Range live, const Tile& tile, const Rows<T>& in, i64 in_gate, const Rows<T>& h) const {
    for (i64 r = 0; r < tile.rows; ++r) {
      const i64 n = live.begin + r;
      for_vectors<T>(tile.width, [&](i64 j, i64 count) {
        const i64 u = tile.unit + j;
        Vec<T> vin[3], vrec[3], saved[3];
        saved[0] = load_n(work(kResetRow, n) + u, count);
        saved[1] = load_n(work(kUpdateRow, n) + u, count);
        sums(r, 2, 3, u, j, count, tile.rec + r * tile.rec_row, tile.rec_gate, in[r], in_gate, vin, vrec);
        const Vec<T> old = load_n(h[r] + u, count);
        give(t, n, r, u, count, C::result(vin[2], vrec[2], old, extra(masks, r, u, count), bounds, saved), h[r]);
        save(t, n, u, count, 2, 3, saved);
      });
    }
  }

  // h~ = o tanh(LN(c~))
  void normed_cells(i64 t, Range live, const Rows<T>& h) const {
    meet();
    for (i64 r = 0; r < live.end - live.begin; ++r) {
      const i64 n = live.begin + r;
      T* const st = stats + r * kRnnStats + kCellStats;
      const T *c = work(kCellRow, n), *out = work(kShownRow, n);
      moments(c, s.hidden, st);
      keep_moments(t, n, kCellStats, st);
      if (!a.y_new) continue;
      for_vectors<T>(width(), [&](i64 j, i64 count) {
        const i64 u = units.begin + j;
        const Vec<T> shown = RowNorm<T>{st[0], st[1]}(load_n(c + u, count)) * load_n(o->gain_c + u, count);
        const Vec<T> tanh_c = vtanh<T>(shown + load_n(o->bias_c + u, count));
        give(t, n, r, u, count, load_n(out + u, count) * tanh_c, h[r]);
      });
    }
  }

  // h~ = W_hr (o tanh c)
  void project_states(i64 t, Range live, const RowPanels& panels, const Rows<T>& h) const {
    meet();
    const Rows<T> shown{work(kShownRow, live.begin), s.hidden};
    for_tiles(pack_rows(shown, s.hidden, panels, false, packed_h), a.w_hr + outs.begin * s.hidden, s.hidden,
              outs.end - outs.begin, [&](i64 r0, i64 tile_rows, i64 j0, i64 tile_width, const T* tile) {
                for (i64 r = r0; r < r0 + tile_rows; ++r, tile += kNr<T>) {
                  for_vectors<T>(tile_width, [&](i64 j, i64 count) {
                    give_state(t, live.begin + r, r, outs.begin + j0 + j, count, load(tile + j), h[r]);
                  });
                }
              });
  }

  const i64 chunk;
  T *const made, *const packed_h, *const copied, *const masked, *const sequence, *const stats;
  StepMasks<T> masks;
  T *const packed_x, *const together_x;
};

}  // namespace
}  // namespace jadro
