// The engine: one microkernel, the packing of plain matrices, and the block loop that convolution and recurrent layers share.
#pragma once

#include "kernels/simd.h"

namespace jadro {
namespace {

// The tile of the microkernel, kMr rows by kNv vectors, by counting registers: accumulators + one row of B + a broadcast of A.
#if defined(__AVX512F__)
constexpr int kMr = 14, kNv = 2;  // 28 + 2 + 1 of 32
#elif defined(__AVX2__)
constexpr int kMr = 6, kNv = 2;  // 12 + 2 + 1 of 16
#elif defined(__aarch64__)
constexpr int kMr = 12, kNv = 2;  // 24 + 2 + 1 of 32
#else
constexpr int kMr = 4, kNv = 2;  // 8 + 2 + 1 of 16
#endif
template <class T>
constexpr int kNr = kNv* kLanes<T>;

constexpr i64 kKc = 384;  // depth of one pass: a panel of A (kMr x kKc) and one of B stay near the core

// tile[MR][kNr] = A B for a packed panel of A, [k][MR], and of B, [k] rows b_step apart.
template <class T, int MR, int NV>
void micro(i64 k, const T* __restrict a, const T* __restrict b, i64 b_step, T* __restrict tile) {
  Vec<T> acc[MR][NV] = {};
  for (i64 p = 0; p < k; ++p) {
    Vec<T> row[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) row[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] += a[r] * row[v];
    }
    a += MR;
    b += b_step;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(tile + r * kNr<T> + v * kLanes<T>, acc[r][v]);
  }
}

template <class T>
using Micro = void (*)(i64 k, const T* a, const T* b, i64 b_step, T* tile);

// micro_for(rows, vectors) is the microkernel for a panel of that many rows of A and vectors of B.
template <class T, int NV, int... MR>
JADRO_INLINE Micro<T> micro_of(int rows, std::integer_sequence<int, MR...>) {
  static constexpr Micro<T> table[] = {micro<T, MR + 1, NV>...};
  return table[rows - 1];
}
template <class T>
JADRO_INLINE Micro<T> micro_for(i64 rows, i64 columns) {
  using Rows = std::make_integer_sequence<int, kMr>;
  return columns <= kLanes<T> ? micro_of<T, 1>(static_cast<int>(rows), Rows{})
                              : micro_of<T, kNv>(static_cast<int>(rows), Rows{});
}

// `total` rows in panels of at most kMr, as even as they can be: 64 rows are 13 13 13 13 12, never 14 14 14 14 8.
struct RowPanels {
  i64 count, base, extra;
  explicit RowPanels(i64 total)
      : count(ceil_div(total, kMr)), base(count ? total / count : 0), extra(count ? total % count : 0) {}
  i64 start(i64 p) const { return p * base + min(p, extra); }
  i64 size(i64 p) const { return base + (p < extra); }
};

// dst[k][rows] = a[rows, k].
template <class T>
void pack_a(const T* a, i64 row, i64 col, i64 rows, i64 k, T* dst) {
  if (row == 1) {
    for (i64 p = 0; p < k; ++p, dst += rows) {
      for (i64 r = 0; r < rows; ++r) dst[r] = a[p * col + r];
    }
    return;
  }
  constexpr i64 kBlock = 16;  // columns at a time, so that the lines of every row are used while they are in the L1
  for (i64 p0 = 0; p0 < k; p0 += kBlock) {
    const i64 end = min(k, p0 + kBlock);
    for (i64 r = 0; r < rows; ++r) {
      const T* source = a + r * row;
      for (i64 p = p0; p < end; ++p) dst[p * rows + r] = source[p * col];
    }
  }
}

// rows[i][j] of a square block of vectors -> rows[j][i], by exchanging ever larger blocks.
template <class T, int kDistance>
JADRO_INLINE void exchange(Vec<T>* rows) {
  constexpr int kN = kLanes<T>;
  VecInt<T> low, high;
  for (int j = 0; j < kN; ++j) {
    const int block = j & ~kDistance;
    low[j] = (j & kDistance) ? kN + block : j;
    high[j] = (j & kDistance) ? kN + j : block + kDistance;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kN; ++i) {
    if (i & kDistance) continue;
    const Vec<T> a = rows[i], b = rows[i + kDistance];
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + kDistance] = __builtin_shuffle(a, b, high);
  }
}
template <class T, int kDistance = 1>
JADRO_INLINE void transpose(Vec<T>* rows) {
  if constexpr (kDistance < kLanes<T>) {
    exchange<T, kDistance>(rows);
    transpose<T, kDistance * 2>(rows);
  }
}

// dst[k][kNr] = b[k, columns], zero above; columns <= kNr. A source with contiguous columns of k is transposed in registers.
template <class T>
void pack_b(const T* b, i64 row, i64 col, i64 k, i64 columns, T* dst) {
  constexpr int kN = kLanes<T>;
  if (col == 1) {
    for (i64 p = 0; p < k; ++p, dst += kNr<T>) {
      const T* source = b + p * row;
      if (columns == kNr<T>) {
#pragma GCC unroll 4
        for (int v = 0; v < kNv; ++v) store(dst + v * kN, load(source + v * kN));
      } else {
        for (i64 j = 0; j < kNr<T>; ++j) dst[j] = j < columns ? source[j] : T(0);
      }
    }
    return;
  }
  for (i64 j0 = 0; j0 < kNr<T>; j0 += kN) {
    const i64 width = max(0, min(kN, columns - j0));
    i64 p = 0;
    if (row == 1) {
      for (; p + kN <= k; p += kN) {
        Vec<T> rows[kN] = {};
        for (i64 j = 0; j < width; ++j) rows[j] = load(b + (j0 + j) * col + p);
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < kN; ++i) store(dst + (p + i) * kNr<T> + j0, rows[i]);
      }
    }
    for (; p < k; ++p) {
      for (i64 j = 0; j < kN; ++j) dst[p * kNr<T> + j0 + j] = j < width ? b[p * row + (j0 + j) * col] : T(0);
    }
  }
}

// A whole matrix B[k,n] in panels of kNr columns: panel j starts at j * k * kNr.
template <class T>
void pack_b_panels(const T* b, i64 row, i64 col, i64 k, i64 n, T* dst) {
  for (i64 j = 0; j < n; j += kNr<T>, dst += k * kNr<T>) pack_b(b + j * col, row, col, k, min(kNr<T>, n - j), dst);
}

// All tiles of [rows] x [columns]: a_panel(p) gives the packed rows of panel p, b the packed columns, sink(r0, rows, j0, columns,
// tile) takes each finished tile.
template <class T, class PanelA, class Sink>
JADRO_INLINE void for_tiles(const RowPanels& rows, PanelA a_panel, const T* b, i64 k, i64 columns, Sink sink) {
  alignas(64) T tile[kMr * kNr<T>];
  for (i64 j = 0; j < columns; j += kNr<T>, b += k * kNr<T>) {
    const i64 width = min(kNr<T>, columns - j);
    for (i64 p = 0; p < rows.count; ++p) {
      micro_for<T>(rows.size(p), width)(k, a_panel(p), b, kNr<T>, tile);
      sink(rows.start(p), rows.size(p), j, width, tile);
    }
  }
}

// Elements of scratch that gemm_block needs.
template <class T>
i64 gemm_scratch(i64 m, i64 n) {
  return m * kKc + ceil_div(n, kNr<T>) * kNr<T> * kKc;
}

// C[m,n] over k, of one block of the problem; the passes over k are the same whatever the block.
template <class T>
void gemm_block(const Gemm<T>& g, Range m, Range n, T* scratch) {
  const RowPanels rows(m.end - m.begin);
  const i64 columns = n.end - n.begin;
  T* const packed_a = scratch;
  T* const packed_b = scratch + (m.end - m.begin) * kKc;
  for (i64 k0 = 0; k0 == 0 || k0 < g.k; k0 += kKc) {
    const i64 kc = min(kKc, g.k - k0);
    for (i64 p = 0; p < rows.count; ++p) {
      pack_a(g.a + (m.begin + rows.start(p)) * g.a_row + k0 * g.a_col, g.a_row, g.a_col, rows.size(p), kc,
             packed_a + rows.start(p) * kc);
    }
    pack_b_panels(g.b + k0 * g.b_row + n.begin * g.b_col, g.b_row, g.b_col, kc, columns, packed_b);
    const bool first = k0 == 0;
    for_tiles<T>(
        rows, [&](i64 p) { return packed_a + rows.start(p) * kc; }, packed_b, kc, columns,
        [&](i64 r0, i64 height, i64 j0, i64 width, const T* tile) {
          const T* bias = g.bias && first ? g.bias + n.begin + j0 : nullptr;
          for (i64 r = 0; r < height; ++r) {
            T* c = g.c + (m.begin + r0 + r) * g.c_row + n.begin + j0;
            for_vectors<T>(width, [&](i64 i, i64 count) {
              Vec<T> v = load(tile + r * kNr<T> + i);
              if (bias) v += load_n(bias + i, count);
              if (!first || g.accumulate) v += load_n(c + i, count);
              store_n(c + i, v, count);
            });
          }
        });
  }
}

}  // namespace
}  // namespace jadro
