// The time loop backward: a run of steps, from the last to the first, for a range of rows and of units.
#pragma once

#include "kernels/rnn_steps.h"

namespace jadro {
namespace {

template <class T>
i64 rnn_backward_scratch(const Rnn& s, i64 rows, bool options) {
  const i64 depth = min(kKc, whole_vectors<T>(max(s.gates() * s.hidden, s.output)));
  return rows * (depth + (options ? 2 * s.output + 2 * s.hidden : 0));
}

// Columns [columns] of W[.., total], packed in passes of kKc rows; far from the core or near.
template <class T>
struct PackedColumns {
  const T* w;
  i64 total;
  Range columns;
  bool far;
};

// to[r][j] += A[r, depth] W, times mask[r][j] where it is not null; rows of `to` stand `row` apart. The passes over the
// depth are the same whatever the split. Few rows meet the panels of several tiles side by side.
template <class T>
__attribute__((noinline)) void add_packed_product(const Rows<T>& left, i64 depth, const PackedColumns<T>& right,
                                                  const RowPanels& panels, T* packed, const T* mask, T* to, i64 row) {
  const i64 columns = right.columns.end - right.columns.begin, rows = panels.count == 1 ? panels.size(0) : kMr;
  const auto sink = [&](i64 r0, i64 tile_rows, i64 j0, i64 width, const T* tile) {
    if (!mask) return store_tile<T>(tile, tile_rows, width, nullptr, true, to + r0 * row + j0, row);
    for (i64 r = r0; r < r0 + tile_rows; ++r, tile += kNr<T>) {
      for_vectors<T>(width, [&](i64 j, i64 count) {
        T* const at = to + r * row + j0 + j;
        store_n(at, load_n(at, count) + load_n(mask + r * columns + j0 + j, count) * load(tile + j), count);
      });
    }
  };
  for (i64 k0 = 0; k0 < depth; k0 += kKc) {
    const i64 k = min(kKc, depth - k0);
    const T* const w = right.w + k0 * unit_panels<T>(right.total) * kNr<T> + right.columns.begin * k;
    const Rows<T> pass{left.at + k0, left.row};
    if (rows <= kFewRows) {
      constexpr int kPanels = 4;
      alignas(64) T tiles[kPanels * kMr * kNr<T>];
      for (i64 j = 0; j < columns;) {
        const bool several = columns - j > (kPanels - 1) * kNr<T>;
        if (several) {
          few_rows<T, kPanels>(rows, pass, k, w + j * k, k * kNr<T>, tiles);
        } else {
          few_rows<T, 1>(rows, pass, k, w + j * k, 0, tiles);
        }
        for (int n = 0; n < (several ? kPanels : 1); ++n, j += kNr<T>) {
          sink(0, rows, j, min(kNr<T>, columns - j), tiles + n * kMr * kNr<T>);
        }
      }
      continue;
    }
    for_tiles(pack_rows(pass, k, panels, right.far, packed), w, k, columns, sink);
  }
}

template <class T, class C>
class BackwardRun : LoopShare<T, C, RnnBackward<T>> {
 public:
  BackwardRun(const RnnBackward<T>& a, Range rows, Range units, Range outs, T* scratch, Barrier* barrier)
      : Share(a, rows, units, outs, barrier),
        packed(scratch),
        sequence(packed + height() * min(kKc, whole_vectors<T>(max(s.gates() * s.hidden, s.output)))),
        masks(o, C::kHasCell, height(), units, outs, sequence + height() * s.output) {}

  void run() {
    const bool dropped = C::kOptions && o->sequence();
    if (dropped) draw_sequence_mask(*o, s, rows, outs, sequence);
    for (i64 step = a.run.end - 1; step >= a.run.begin; --step) {
      const i64 t = s.time(step);
      const Range live = live_rows(t);
      if (live.begin >= live.end) continue;
      const RowPanels panels(live.end - live.begin);
      if (a.h_in) keep_entering(t, live, dropped);
      if constexpr (C::kOptions) {
        option_step(t, step, live, panels);
      } else {
        plain_cells(t, step, live);
        meet();
        const Rows<T> left = gradients(t, live);
        if (a.unpacked) {
          add_unpacked(live, left, C::kGates * s.hidden);
        } else {
          add_recurrent(live, panels, a.w_hh, left, C::kGates * s.hidden);
        }
      }
      if (restarts<T>(a, t)) restart(t, live);
    }
  }

 private:
  using Share = LoopShare<T, C, RnnBackward<T>>;
  using Share::a, Share::s, Share::o, Share::rows, Share::units, Share::outs, Share::bounds;
  using Share::height, Share::width, Share::live_rows, Share::normed, Share::meet, Share::extra, Share::far_weights;

  Rows<T> gradients(i64 t, Range live) const { return {a.da + (s.at(t) + live.begin) * a.da_row, a.da_row}; }

  // c [H] that enters step t of row n.
  JADRO_INLINE const T* c_before(i64 t, i64 step, i64 n) const {
    if (restarts<T>(a, t) && a.restart[s.at(t) + n]) return a.c_restart + n * s.hidden;
    if (s.begins(t, n)) return a.c0 + n * s.hidden;
    if (step == a.run.begin && a.c_enter) return a.c_enter + n * s.hidden;
    return a.cells + (token_before(s, t, n) - a.origin) * s.hidden;
  }

  // h as it enters U, for the gradient of U.
  void keep_entering(i64 t, Range live, bool dropped) const {
    const i64 size = outs.end - outs.begin;
    for (i64 n = live.begin; n < live.end; ++n) {
      const T* h = h_before<T>(a, a.y, t, n) + outs.begin;
      T* const to = a.h_in + (s.at(t) + n) * s.output + outs.begin;
      for_vectors<T>(size, [&](i64 j, i64 count) {
        Vec<T> v = load_n(h + j, count);
        if (dropped) v *= load_n(sequence + (n - rows.begin) * size + j, count);
        store_n(to + j, v, count);
      });
    }
  }

  // dL/dh of the step that is about to be done, for the thread's rows and units, lives in a.dh; dL/dc in a.dc.
  JADRO_INLINE void plain_cells(i64 t, i64 step, Range live) const {
    const i64 H = s.hidden;
    for (i64 n = live.begin; n < live.end; ++n) {
      const i64 at = s.at(t) + n, here = at - a.origin;
      const T* y = a.y + at * s.y_row;
      const T* h_prev = h_before<T>(a, a.y, t, n);
      const T* c_prev = C::kHasCell ? c_before(t, step, n) : nullptr;
      for_vectors<T>(width(), [&](i64 j, i64 count) {
        const i64 u = units.begin + j;
        Vec<T> saved[C::kSaved + 1], da[C::kGrads], dh_direct, dc{};
#pragma GCC unroll 4
        for (int g = 0; g < C::kSaved; ++g) saved[g] = load_n(a.saved + (here * C::kSaved + g) * H + u, count);
        Vec<T> dh = load_n(a.dh + n * H + u, count);
        if (a.dy) dh += load_n(a.dy + at * s.y_row + u, count);
        if (C::kHasCell) dc = load_n(a.dc + n * H + u, count);
        if (C::kHasCell && a.dcells) dc += load_n(a.dcells + at * a.dcells_row + u, count);
        C::backward(saved, load_n(y + u, count), load_n(h_prev + u, count),
                    C::kHasCell ? load_n(c_prev + u, count) : Vec<T>{},
                    C::kHasCell ? load_n(a.cells + here * H + u, count) : Vec<T>{}, dh, &dc, da, &dh_direct);
#pragma GCC unroll 4
        for (int g = 0; g < C::kGrads; ++g) store_n(a.da + at * a.da_row + g * H + u, da[g], count);
        store_n(a.dh + n * H + u, dh_direct, count);
        if (C::kHasCell) store_n(a.dc + n * H + u, dc, count);
      });
    }
  }

  // to += A W for columns [columns] of the packed W[depth, total].
  void add_product(const Rows<T>& left, i64 depth, const T* w, i64 total, Range columns, const RowPanels& panels,
                   const T* mask, T* to, i64 row) const {
    add_packed_product<T>(left, depth, {w, total, columns, far_weights()}, panels, packed, mask, to, row);
  }
  // dh += mask (da U)
  void add_recurrent(Range live, const RowPanels& panels, const T* w, const Rows<T>& left, i64 depth) const {
    const bool dropped = C::kOptions && o->sequence();
    add_product(left, depth, w, s.output, outs, panels, dropped ? sequence : nullptr,
                a.dh + live.begin * s.output + outs.begin, s.output);
  }
  // The same of U as it stands, without a mask.
  void add_unpacked(Range live, const Rows<T>& left, i64 depth) const {
    for (i64 k0 = 0; k0 < depth; k0 += kKc) {
      gemm_thin(Gemm<T>{live.end - live.begin, s.output, min(kKc, depth - k0), left.at + k0, left.row, 1,
                        a.w_hh + k0 * s.output, s.output, 1, a.dh + live.begin * s.output, s.output, nullptr, true},
                outs);
    }
  }
  // What would reach the state before goes to the state that was put in its place.
  void restart(i64 t, Range live) const {
    const auto move = [](T* from, T* to, Range range) {
      for (i64 j = range.begin; j < range.end; ++j) {
        if (to) to[j] += from[j];
        from[j] = T(0);
      }
    };
    for (i64 n = live.begin; n < live.end; ++n) {
      if (!a.restart[s.at(t) + n]) continue;
      move(a.dh + n * s.output, a.dh_restart ? a.dh_restart + n * s.output : nullptr, outs);
      if (C::kHasCell) move(a.dc + n * s.hidden, a.dc_restart ? a.dc_restart + n * s.hidden : nullptr, units);
    }
  }

  // --- with options ---

  enum WorkRow { kGradRow, kNormRow, kValueRow };  // dL/d(o tanh c); dL/dLN(c); c before its gain
  T* work(WorkRow which, i64 n) const { return a.work + (which * s.batch + n) * s.hidden; }
  // Sums of row n: which counts from behind the gains of the gates.
  T* sums(i64 n, int which) const { return a.sums + n * rnn_sums(s) + (2 * C::kGates + which) * s.hidden; }
  enum Sum { kGainC, kBiasC, kPeepI, kPeepF, kPeepO, kGradients };
  static JADRO_INLINE void add(T* to, Vec<T> v, i64 count) { store_n(to, load_n(to, count) + v, count); }
  T* gradients_of(i64 t, i64 n) const { return a.da + (normed() ? n : s.at(t) + n) * a.da_row; }

  void option_step(i64 t, i64 step, Range live, const RowPanels& panels) {
    constexpr int kGroups = C::group(C::kGates - 1) + 1;
    masks.draw(s, t, live);
    if (C::kHasCell && a.w_hr) open_projection(t, live, panels);
    if constexpr (C::kHasCell) {
      if (o->gain_c) open_norm(t, step, live);
    }
    for (i64 n = live.begin; n < live.end; ++n) option_cell(t, step, live, n);
    if constexpr (C::kBefore) {
      if (normed()) norm_gates(t, live, 1);
      meet();
      reset_gates(t, live, panels);
    }
    for (int group = 0; normed() && group < (C::kBefore ? 1 : kGroups); ++group) norm_gates(t, live, group);
    meet();
    const i64 size = C::kGates * s.hidden;
    const Rows<T> left = normed() ? Rows<T>{a.du + (s.at(t) + live.begin) * size, size} : gradients(t, live);
    add_recurrent(live, panels, a.w_hh, left, C::kBefore ? 2 * s.hidden : size);
  }

  // dL/dh~, and in *kept what goes to the h before; unit u counts among P.
  JADRO_INLINE Vec<T> made_gradient(i64 t, i64 n, i64 r, i64 u, i64 count, Vec<T>* kept) const {
    Vec<T> dh = load_n(a.dh + n * s.output + u, count);
    if (a.dy) dh += load_n(a.dy + (s.at(t) + n) * s.y_row + u, count);
    *kept = Vec<T>{};
    if (!masks.keep_h) return dh;
    const Vec<T> keep = load_n(masks.keep_h + r * masks.out_width() + u - outs.begin, count);
    *kept = keep * dh;
    return (T(1) - keep) * dh;
  }

  // From dL/dh to dL/d(o tanh c) by way of W_hr.
  void open_projection(i64 t, Range live, const RowPanels& panels) const {
    for (i64 n = live.begin; n < live.end; ++n) {
      for_vectors<T>(outs.end - outs.begin, [&](i64 j, i64 count) {
        const i64 u = outs.begin + j;
        Vec<T> kept{};
        store_n(a.dp + (s.at(t) + n) * s.output + u, made_gradient(t, n, n - live.begin, u, count, &kept), count);
        store_n(a.dh + n * s.output + u, kept, count);
      });
      std::memset(work(kGradRow, n) + units.begin, 0, width() * sizeof(T));
    }
    meet();
    T* const to = work(kGradRow, live.begin) + units.begin;
    const Rows<T> left{a.dp + (s.at(t) + live.begin) * s.output, s.output};
    add_product(left, s.output, a.w_hr, s.hidden, units, panels, nullptr, to, s.hidden);
  }

  // dL/d(o tanh c), and dL/dh as far as it passes the cell by.
  JADRO_INLINE Vec<T> shown_gradient(i64 t, i64 n, i64 r, i64 u, i64 count, Vec<T>* kept) const {
    if (!(C::kHasCell && a.w_hr)) return made_gradient(t, n, r, u, count, kept);
    return load_n(work(kGradRow, n) + u, count);
  }

  JADRO_INLINE void load_saved(i64 here, i64 u, i64 count, Vec<T>* saved) const {
    for (int g = 0; g < C::kSaved; ++g) saved[g] = load_n(a.saved + (here * C::kSaved + g) * s.hidden + u, count);
  }

  // Behind layer norm of c: dL/d LN(c) and the gate o, for whole rows.
  void open_norm(i64 t, i64 step, Range live) const {
    for (i64 n = live.begin; n < live.end; ++n) {
      const i64 at = s.at(t) + n, here = at - a.origin, r = n - live.begin;
      const T *c_prev = c_before(t, step, n), *st = a.stats + here * kRnnStats + kCellStats;
      for_vectors<T>(width(), [&](i64 j, i64 count) {
        const i64 u = units.begin + j;
        Vec<T> saved[C::kSaved], kept{};
        load_saved(here, u, count, saved);
        const Vec<T> c =
            bounded<T>(C::sum(saved, load_n(c_prev + u, count), extra(masks, r, u, count)), bounds.cell_clip);
        const Vec<T> value = RowNorm<T>{st[0], st[1]}(c), gain = load_n(o->gain_c + u, count);
        const Vec<T> tanh_c = vtanh<T>(value * gain + load_n(o->bias_c + u, count)), out = saved[C::kO];
        const Vec<T> dh = shown_gradient(t, n, r, u, count, &kept);
        const Vec<T> d = dh * out * (T(1) - tanh_c * tanh_c);
        store_n(gradients_of(t, n) + C::kO * s.hidden + u, bounds.sigmoid(out, dh * tanh_c), count);
        store_n(work(kNormRow, n) + u, d * gain, count);
        store_n(work(kValueRow, n) + u, value, count);
        add(sums(n, kGainC) + u, d * value, count);
        add(sums(n, kBiasC) + u, d, count);
        if (!a.w_hr) store_n(a.dh + n * s.output + u, kept, count);
        if (a.shown) store_n(a.shown + at * s.hidden + u, out * tanh_c, count);
      });
    }
    meet();
  }

  // Means of d and of d value, over a whole row.
  static void means(const T* d, const T* value, i64 n, T* out) {
    out[0] = total_of<T>(n, [&](i64 i, i64 count) { return load_n(d + i, count); }) / static_cast<T>(n);
    const T product = total_of<T>(n, [&](i64 i, i64 count) { return load_n(d + i, count) * load_n(value + i, count); });
    out[1] = product / static_cast<T>(n);
  }

  JADRO_INLINE void option_cell(i64 t, i64 step, Range live, i64 n) const {
    const i64 at = s.at(t) + n, here = at - a.origin, H = s.hidden, r = n - live.begin;
    const T* h_prev = h_before<T>(a, a.y, t, n);
    const T* c_prev = C::kHasCell ? c_before(t, step, n) : nullptr;
    const T* st = C::kHasCell && o->gain_c ? a.stats + here * kRnnStats + kCellStats : nullptr;
    T* const to = gradients_of(t, n);
    T mean[2];
    if (st) means(work(kNormRow, n), work(kValueRow, n), H, mean);
    for_vectors<T>(width(), [&](i64 j, i64 count) {
      const i64 u = units.begin + j;
      Vec<T> saved[C::kSaved], da[C::kGrads], kept{};
      load_saved(here, u, count, saved);
      const Extra<T> e = extra(masks, r, u, count);
      if constexpr (C::kHasCell) {
        const Vec<T> c = load_n(c_prev + u, count);
        const Vec<T> c_new = bounded<T>(C::sum(saved, c, e), bounds.cell_clip);
        Vec<T> dc = load_n(a.dc + n * H + u, count), d_shown;
        if (a.dcells) dc += load_n(a.dcells + at * a.dcells_row + u, count);
        if (st) {
          da[C::kO] = load_n(gradients_of(t, n) + C::kO * H + u, count);
          d_shown = load_n(work(kNormRow, n) + u, count) - mean[0] - load_n(work(kValueRow, n) + u, count) * mean[1];
          d_shown *= st[1];
        } else {
          const Vec<T> dh = shown_gradient(t, n, r, u, count, &kept), tanh_c = vtanh<T>(c_new);
          da[C::kO] = bounds.sigmoid(saved[C::kO], dh * tanh_c);
          d_shown = dh * saved[C::kO] * (T(1) - tanh_c * tanh_c);
          if (!a.w_hr) store_n(a.dh + n * H + u, kept, count);
          if (a.shown) store_n(a.shown + at * H + u, saved[C::kO] * tanh_c, count);
        }
        store_n(a.dc + n * H + u, C::backward(saved, c, d_shown, dc, e, bounds, da), count);
        if (e.peephole) add_peepholes(n, u, count, da, c, c_new);
      } else {
        const Vec<T> dh = made_gradient(t, n, r, u, count, &kept), h = load_n(h_prev + u, count);
        C::backward(saved, h, dh, e, bounds, da, &kept);
        store_n(a.dh + n * H + u, kept, count);
      }
      for (int g = 0; g < C::kGrads; ++g) store_n(to + g * H + u, da[g], count);
    });
  }

  JADRO_INLINE void add_peepholes(i64 n, i64 u, i64 count, const Vec<T>* da, Vec<T> c, Vec<T> c_new) const {
    if constexpr (C::kHasCell) {
      add(sums(n, kPeepI) + u, da[0] * c, count);
      if (o->peep_f) add(sums(n, kPeepF) + u, da[1] * c, count);
      add(sums(n, kPeepO) + u, da[C::kO] * c_new, count);
    }
  }

  // The GRU that resets before the product: dL/d(r h) = da_n U_n gives the gate r, and h its part.
  void reset_gates(i64 t, Range live, const RowPanels& panels) const {
    if constexpr (C::kBefore) {
      const i64 H = s.hidden, size = C::kGates * H;
      const T* const left = (normed() ? a.du + (s.at(t) + live.begin) * size : gradients_of(t, live.begin)) + 2 * H;
      for (i64 n = live.begin; n < live.end; ++n) {
        std::memset(work(kGradRow, n) + units.begin, 0, width() * sizeof(T));
      }
      T* const to = work(kGradRow, live.begin) + units.begin;
      const Rows<T> da_n{left, normed() ? size : a.da_row};
      add_product(da_n, H, a.w_hn, H, units, panels, nullptr, to, H);
      for (i64 n = live.begin; n < live.end; ++n) {
        const i64 at = s.at(t) + n;
        for_vectors<T>(width(), [&](i64 j, i64 count) {
          const i64 u = units.begin + j;
          const Vec<T> d = load_n(work(kGradRow, n) + u, count), h = load_n(a.h_in + at * H + u, count);
          const Vec<T> reset = load_n(a.saved + (at - a.origin) * C::kSaved * H + u, count);
          Vec<T> dh = d * reset;
          if (o->sequence()) dh *= load_n(sequence + (n - live.begin) * width() + j, count);
          store_n(gradients_of(t, n) + u, bounds.sigmoid(reset, d * h), count);
          store_n(a.reset + at * H + u, reset * h, count);
          add(a.dh + n * H + u, dh, count);
        });
      }
    }
  }

  // Through layer norm of a group's gates: dw and du from da, and the sums for the gains.
  void norm_gates(i64 t, Range live, int group) const {
    meet();
    const i64 H = s.hidden, size = C::kGates * H;
    const int g0 = group == 0 ? 0 : 2, g1 = C::group(C::kGates - 1) > group ? 2 : C::kGates;
    for (i64 n = live.begin; n < live.end; ++n) {
      const i64 at = s.at(t) + n, here = at - a.origin;
      const T* const st = a.stats + here * kRnnStats;
      for (int side = 0; side < 2; ++side) {
        // The GRU's gradients stand r z m n: n is the input's, m the state's.
        const int last = C::kGrads > C::kGates && side == 0 && g1 == C::kGates ? C::kGrads - 1 : g1 - 1;
        const T* const d = gradients_of(t, n);
        const T *const raw = (side ? a.raw_hh : a.raw_ih) + here * size, *const gain = side ? o->gain_hh : o->gain_ih;
        const T* const m = st + stats_at(side, group);
        norm_rows({m[0], m[1]}, g0, g1, last, d, raw, gain, (side ? a.du : a.dw) + at * size,
                  a.sums + n * rnn_sums(s) + side * size);
      }
      for (int g = g0; g < (g1 == C::kGates ? C::kGrads : g1); ++g) {
        for_vectors<T>(width(), [&](i64 j, i64 count) {
          const i64 u = units.begin + j;
          add(sums(n, kGradients) + g * H + u, load_n(gradients_of(t, n) + g * H + u, count), count);
        });
      }
    }
  }

  // dst = factor (d gain - mean(d gain) - value mean(d gain value)) for gates [g0, g1), whose gradients stand in place
  // but for the last gate's.
  void norm_rows(RowNorm<T> norm, int g0, int g1, int last, const T* d, const T* raw, const T* gain, T* dst,
                 T* sum) const {
    const i64 H = s.hidden;
    const auto from = [&](int g) { return d + (g == g1 - 1 ? last : g) * H; };
    Vec<T> total[2] = {}, product[2] = {};
    for (int g = g0; g < g1; ++g) {
      int part = 0;
      for_vectors<T>(H, [&](i64 u, i64 count) {
        const Vec<T> v = load_n(from(g) + u, count) * load_n(gain + g * H + u, count);
        total[part] += v;
        product[part] += v * norm(load_n(raw + g * H + u, count));
        part ^= 1;
      });
    }
    const T share = T(1) / static_cast<T>((g1 - g0) * H);
    const T mean = sum_lanes<T>(total[0] + total[1]) * share;
    const T slope = sum_lanes<T>(product[0] + product[1]) * share;
    for (int g = g0; g < g1; ++g) {
      for_vectors<T>(width(), [&](i64 j, i64 count) {
        const i64 u = units.begin + j, at = g * H + u;
        const Vec<T> v = load_n(from(g) + u, count), value = norm(load_n(raw + at, count));
        store_n(dst + at, (v * load_n(gain + at, count) - mean - value * slope) * norm.factor, count);
        add(sum + at, v * value, count);
      });
    }
  }

  T *const packed, *const sequence;
  StepMasks<T> masks;
};

}  // namespace
}  // namespace jadro
