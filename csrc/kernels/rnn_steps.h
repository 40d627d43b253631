// What the time loop's forward and backward share: packing, the state that enters a step, the masks of the options and
// the moments of layer norm.
#pragma once

#include "core/kernel_table.h"
#include "core/philox.h"
#include "core/thread_pool.h"
#include "kernels/dropout.h"
#include "kernels/exponential.h"
#include "kernels/gemm.h"
#include "kernels/rnn_cells.h"
#include "kernels/rnn_option_cells.h"

namespace jadro {
namespace {

template <class T>
i64 unit_panels(i64 units) {
  return ceil_div(units, kNr<T>);
}

// The rows of a matrix, `row` apart.
template <class T>
struct Rows {
  const T* at;
  i64 row;
  const T* operator[](i64 n) const { return at + n * row; }
};

// A[rows, k], packed to dst, to meet columns that are near the core or far.
template <class T>
PackedRows<T> pack_rows(const Rows<T>& source, i64 k, const RowPanels& panels, bool far, T* dst) {
  pack_a_blocks(source.at, source.row, panels, k, dst);
  return {panels, dst, whole_vectors<T>(k), far ? Operands::kBlockedAFarB : Operands::kBlockedA};
}

// --- few rows --------------------------------------------------------------------------------------------------------
// The sums run over k in the microkernel's order: the bits do not depend on how many rows there are.

// So few rows leave the microkernel waiting for its own sums; they are read in place, against several panels at a time.
constexpr i64 kFewRows = kMr > 6 ? 3 : 1;

// tiles[n][r][kNr] = x[r] times panel n, for N panels `step` apart; tiles kMr * kNr apart.
template <class T, int N, int R>
void few_rows_by(const Rows<T>& x, i64 k, const T* w, i64 step, T* tiles) {
  Vec<T> sum[N][R][kNv] = {};
  for (i64 p = 0; p < k; ++p, w += kNr<T>) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < kNv; ++v) {
        const Vec<T> b = load(w + n * step + v * kLanes<T>);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sum[n][r][v] += x.at[r * x.row + p] * b;
      }
    }
  }
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kNv; ++v) store(tiles + (n * kMr + r) * kNr<T> + v * kLanes<T>, sum[n][r][v]);
    }
  }
}
template <class T, int N>
void few_rows(i64 rows, const Rows<T>& x, i64 k, const T* w, i64 step, T* tiles) {
  if constexpr (kFewRows > 1) {
    if (rows == 2) return few_rows_by<T, N, 2>(x, k, w, step, tiles);
    if (rows == 3) return few_rows_by<T, N, 3>(x, k, w, step, tiles);
  }
  few_rows_by<T, N, 1>(x, k, w, step, tiles);
}

// out[r][j] = w[j] x[r] + bias[j] for rows w[.., k] as they stand, as dot products: where the weights are used a few
// times, packing them would take longer.
template <class T>
__attribute__((noinline)) void unpacked_product(i64 rows, const Rows<T>& x, i64 k, const T* w, i64 columns,
                                                const T* bias, T* out, i64 out_row) {
  gemm_thin(Gemm<T>{rows, columns, k, x.at, x.row, 1, w, 1, k, out, out_row, bias, false}, {0, columns});
}

// The token of a live row one step before, where t is not its first.
inline i64 token_before(const Rnn& s, i64 t, i64 n) { return s.at(s.reverse ? t + 1 : t - 1) + n; }

template <class T>
bool restarts(const RnnRun<T>& a, i64 t) {
  return a.any_restart && a.any_restart[t];
}

// h [P] that enters step t of row n; y as RnnForward has it.
template <class T>
JADRO_INLINE const T* h_before(const RnnRun<T>& a, const T* y, i64 t, i64 n) {
  const Rnn& s = a.shape;
  if (restarts(a, t) && a.restart[s.at(t) + n]) return a.h_restart + n * s.output;
  if (s.begins(t, n)) return a.h0 + n * s.output;
  return y + token_before(s, t, n) * s.y_row;
}

// --- masks -----------------------------------------------------------------------------------------------------------

// out[j] = below where word `place` + j of the stream is below p, else above.
template <class T>
void draw_mask(u64 seed, u64 place, T p, T below, T above, i64 n, T* out) {
  const u32 threshold = philox_threshold(static_cast<float>(p));
  for_philox_words(seed, place, place + static_cast<u64>(n), [&](i64 first, const u32* words, i64 count) {
    for (i64 i = 0; i < count; ++i) out[first + i] = words[i] >> 8 < threshold ? below : above;
  });
}

// The shares and factors of one step for a thread's rows and units; null where the option is off.
template <class T>
struct StepMasks {
  const RnnOptions<T>* o;
  Range units, outs;
  T *keep_h, *keep_c, *drop;

  // scratch: rows * (outs + 2 units)
  StepMasks(const RnnOptions<T>* options, bool has_cell, i64 rows, Range units, Range outs, T* scratch)
      : o(options), units(units), outs(outs), keep_h(nullptr), keep_c(nullptr), drop(nullptr) {
    if (!o) return;
    const i64 P = outs.end - outs.begin, H = units.end - units.begin;
    if (o->zoneout_h > 0) keep_h = scratch;
    if (o->zoneout_c > 0 && has_cell) keep_c = scratch + rows * P;
    if (o->training && o->update && o->drop > 0) drop = scratch + rows * (P + H);
    if (o->training) return;
    for (i64 i = 0; keep_h && i < rows * P; ++i) keep_h[i] = o->zoneout_h;
    for (i64 i = 0; keep_c && i < rows * H; ++i) keep_c[i] = o->zoneout_c;
  }
  i64 out_width() const { return outs.end - outs.begin; }
  i64 width() const { return units.end - units.begin; }

  void draw(const Rnn& s, i64 t, Range live) {
    if (!o->training || !(keep_h || keep_c || drop)) return;
    for (i64 n = live.begin; n < live.end; ++n) {
      const i64 r = n - live.begin, place = t * s.batch + (o->order ? o->order[n] : n);
      if (keep_h) {
        const u64 at = o->at_h + static_cast<u64>(place * s.output + outs.begin);
        draw_mask(o->seed, at, o->zoneout_h, T(1), T(0), out_width(), keep_h + r * out_width());
      }
      const u64 at = static_cast<u64>(place * s.hidden + units.begin);
      if (keep_c) draw_mask(o->seed, o->at_c + at, o->zoneout_c, T(1), T(0), width(), keep_c + r * width());
      if (drop)
        draw_mask(o->seed, o->at_drop + at, o->drop, T(0), T(1) / (T(1) - o->drop), width(), drop + r * width());
    }
  }
};

// Of dropout "sequence": out[rows, outs], the factors of h where it enters U.
template <class T>
void draw_sequence_mask(const RnnOptions<T>& o, const Rnn& s, Range rows, Range outs, T* out) {
  for (i64 n = rows.begin; n < rows.end; ++n, out += outs.end - outs.begin) {
    const u64 place = static_cast<u64>((o.order ? o.order[n] : n) * s.output + outs.begin);
    draw_mask(o.seed, o.at_drop + place, o.drop, T(0), T(1) / (T(1) - o.drop), outs.end - outs.begin, out);
  }
}

// --- a thread's share ------------------------------------------------------------------------------------------------

// Its rows, units and outputs of a call, RnnForward or RnnBackward, whose cell is C.
template <class T, class C, class Call>
class LoopShare {
 protected:
  LoopShare(const Call& a, Range rows, Range units, Range outs, Barrier* barrier)
      : a(a), s(a.shape), o(a.options), rows(rows), units(units), outs(outs), barrier(barrier) {
    if constexpr (C::kOptions) bounds = GateBounds<T>(*o);
  }

  i64 height() const { return rows.end - rows.begin; }
  i64 width() const { return units.end - units.begin; }
  Range live_rows(i64 t) const { return {rows.begin, min(rows.end, s.rows(t))}; }
  bool normed() const { return C::kOptions && o->gain_hh; }
  // Whether every step reads the recurrent weights of these units from beyond the second-level cache.
  bool far_weights() const { return C::kGates * width() * s.output * static_cast<i64>(sizeof(T)) > kFarBytes; }
  void meet() const {
    if (barrier) barrier->wait();
  }

  JADRO_INLINE Extra<T> extra(const StepMasks<T>& masks, i64 r, i64 u, i64 count) const {
    Extra<T> e{};
    const i64 at = r * width() + u - units.begin;
    if (masks.keep_c) e.keep_c = load_n(masks.keep_c + at, count);
    e.drop = masks.drop ? load_n(masks.drop + at, count) : broadcast(T(1));
    e.peephole = o->peep_i != nullptr;
    if (!e.peephole) return e;
    e.p_i = load_n(o->peep_i + u, count);
    if (o->peep_f) e.p_f = load_n(o->peep_f + u, count);
    e.p_o = load_n(o->peep_o + u, count);
    return e;
  }

  const Call& a;
  const Rnn& s;
  const RnnOptions<T>* const o;
  const Range rows, units, outs;
  Barrier* const barrier;
  GateBounds<T> bounds;
};

// --- layer norm ------------------------------------------------------------------------------------------------------

template <class T>
struct RowNorm {
  T mean, factor;  // 1 / sqrt(variance + eps)
  JADRO_INLINE Vec<T> operator()(Vec<T> v) const { return (v - mean) * factor; }
};

// The sum of f(first, count) over [0, n), in four partial sums; f gives 0 in the lanes above count.
template <class T, class F>
JADRO_INLINE T total_of(i64 n, F f) {
  constexpr i64 kN = kLanes<T>;
  Vec<T> part[4] = {};
  i64 i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) part[k] += f(i + k * kN, kN);
  }
  for (; i + kN <= n; i += kN) part[0] += f(i, kN);
  if (i < n) part[1] += f(i, n - i);
  return sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3]));
}

// out: mean and factor of x[n].
template <class T>
void moments(const T* x, i64 n, T* out) {
  constexpr T kEps = T(1e-5);
  const T mean = total_of<T>(n, [&](i64 i, i64 count) { return load_n(x + i, count); }) / static_cast<T>(n);
  const T squares = total_of<T>(n, [&](i64 i, i64 count) {
    Vec<T> d = load_n(x + i, count) - mean;
    if (count < kLanes<T>) d = keep_part<T>(d, count, T(0));
    return d * d;
  });
  out[0] = mean;
  out[1] = T(1) / static_cast<T>(__builtin_sqrt(squares / static_cast<T>(n) + kEps));
}

// Where the moments of W x (side 0) or U h (1) stand in a token's kRnnStats numbers.
inline i64 stats_at(int side, int group) { return side * 4 + group * 2; }
constexpr i64 kCellStats = 8;

}  // namespace
}  // namespace jadro
