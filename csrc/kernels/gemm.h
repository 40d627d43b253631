// The engine: the packing of plain matrices and the block loop around the microkernel that convolution and recurrent
// layers share.
#pragma once

#include <limits>

#include "kernels/micro.h"

namespace jadro {
namespace {

// `total` rows in panels of at most `most`, as even as they can be: 64 rows are 13 13 13 13 12, never 14 14 14 14 8.
struct RowPanels {
  i64 count, base, extra;
  explicit RowPanels(i64 total, i64 most = kMr)
      : count(ceil_div(total, most)), base(count ? total / count : 0), extra(count ? total % count : 0) {}
  i64 start(i64 p) const { return p * base + min(p, extra); }
  i64 size(i64 p) const { return base + (p < extra); }
  i64 of(i64 row) const {  // the panel of a row
    const i64 large = extra * (base + 1);
    return row < large ? row / (base + 1) : extra + (row - large) / base;
  }
};

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

// dst[k][rows] = a[rows, k], rows <= kMr. Whole vectors are written, the lanes above the last row before what belongs
// there, and nothing past the end.
template <class T>
void pack_a(const T* a, i64 row, i64 col, i64 rows, i64 k, T* dst) {
  constexpr int kN = kLanes<T>;
  const i64 groups = ceil_div(rows, kN);
  i64 p = 0;
  if (col == 1) {
    for (; p + kN <= k; p += kN) {
      for (i64 r0 = (groups - 1) * kN; r0 >= 0; r0 -= kN) {
        Vec<T> block[kN];
#pragma GCC unroll 16
        for (int i = 0; i < kN; ++i) block[i] = load(a + min(r0 + i, rows - 1) * row + p);
        transpose<T>(block);
        T* const to = dst + p * rows + r0;
        if (p + kN < k) {
#pragma GCC unroll 16
          for (int i = 0; i < kN; ++i) store(to + i * rows, block[i]);
        } else {
          for (int i = 0; i < kN; ++i) store_n(to + i * rows, block[i], min(kN, (kN - i) * rows - r0));
        }
      }
    }
  }
  for (; p < k; ++p) {
    if (row == 1) {
      for (i64 r = 0; r < rows; r += kN) {
        const i64 count = min(kN, rows - r);
        store_n(dst + p * rows + r, load_n(a + p * col + r, count), count);
      }
      continue;
    }
    for (i64 r = 0; r < rows; ++r) dst[p * rows + r] = a[r * row + p * col];
  }
}

// Panels `rows` of a[rows.total, k], panel p to dst + rows.start(p) * k. Where the rows of a are neighbours, some
// columns of all panels at a time: each line of a column is read while it is near, and what panels far apart write,
// which may share cache sets, goes out by whole lines.
template <class T>
void pack_a_panels(const T* a, i64 row, i64 col, const RowPanels& rows, i64 k, T* dst) {
  // What a vector writes past a column of its panel is written later: every panel but the last has half of kMr rows.
  static_assert(2 * (kMr / 2 + 1) >= kLanes<T>);
  constexpr i64 kColumns = 8;
  i64 done = 0;
  if (row == 1 && col >= kLanes<T>) {  // past the last row of a column stands the next column
    for (; done + 1 < k; done = min(done + kColumns, k - 1)) {
      for (i64 panel = 0; panel < rows.count; ++panel) {
        const i64 first = rows.start(panel), size = rows.size(panel);
        for (i64 p = done; p < min(done + kColumns, k - 1); ++p) {
          T* const to = dst + first * k + p * size;
          for (i64 r = 0; r < size; r += kLanes<T>) store(to + r, load(a + p * col + first + r));
        }
      }
    }
  }
  for (i64 panel = 0; panel < rows.count; ++panel) {
    const i64 first = rows.start(panel), size = rows.size(panel);
    pack_a(a + first * row + done * col, row, col, size, k - done, dst + first * k + done * size);
  }
}

// dst[k][kNr] = b[k, columns], zero above; columns <= kNr. A source with contiguous columns of k is transposed in
// registers.
template <class T>
void pack_b(const T* b, i64 row, i64 col, i64 k, i64 columns, T* dst) {
  constexpr int kN = kLanes<T>;
  if (col == 1) {
    for (i64 p = 0; p < k; ++p, dst += kNr<T>) {
      for (i64 j = 0; j < kNr<T>; j += kN) {
        store(dst + j, j < columns ? load_n(b + p * row + j, min(kN, columns - j)) : Vec<T>{});
      }
    }
    return;
  }
  for (i64 j0 = 0; j0 < kNr<T>; j0 += kN) {
    const i64 width = max(0, min(kN, columns - j0));
    i64 p = 0;
    if (row == 1) {
      for (; p + kN <= k; p += kN) {
        Vec<T> rows[kN];
#pragma GCC unroll 16
        for (int j = 0; j < kN; ++j) rows[j] = j < width ? load(b + (j0 + j) * col + p) : Vec<T>{};
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

// Panels of a[rows.total, k] whose rows are runs of memory, as Operands::kBlockedA has them, [k /
// kLanes][rows][kLanes]: copied, nothing is transposed. Panel p at dst + rows.start(p) * whole_vectors(k).
template <class T>
void pack_a_blocks(const T* a, i64 row, const RowPanels& rows, i64 k, T* dst) {
  constexpr i64 kN = kLanes<T>;
  for (i64 panel = 0; panel < rows.count; ++panel) {
    const i64 size = rows.size(panel);
    i64 p = 0;
    for (; p + kN <= k; p += kN) {
      for (i64 r = 0; r < size; ++r, dst += kN) store(dst, load(a + r * row + p));
    }
    for (i64 r = 0; p < k && r < size; ++r, dst += kN) store(dst, load_part(a + r * row + p, k - p));
    a += size * row;
  }
}

// A whole matrix B[k,n] in panels of kNr columns: panel j starts at j * k * kNr.
template <class T>
void pack_b_panels(const T* b, i64 row, i64 col, i64 k, i64 n, T* dst) {
  if (col == 1) {  // along the rows of B, all whole panels at once: rows a power of two apart share their cache sets
    const i64 whole = n / kNr<T>;
    for (i64 p = 0; p < k; ++p) {
      const T* source = b + p * row;
      T* d = dst + p * kNr<T>;
      for (i64 j = 0; j < whole; ++j, source += kNr<T>, d += k * kNr<T>) {
#pragma GCC unroll 4
        for (int v = 0; v < kNv; ++v) store(d + v * kLanes<T>, load(source + v * kLanes<T>));
      }
    }
    b += whole * kNr<T>;
    n -= whole * kNr<T>;
    dst += whole * k * kNr<T>;
  }
  for (i64 j = 0; j < n; j += kNr<T>, dst += k * kNr<T>) pack_b(b + j * col, row, col, k, min(kNr<T>, n - j), dst);
}

// c[rows, columns] = tile + bias, or c += with add.
template <class T>
JADRO_INLINE void store_tile(const T* tile, i64 rows, i64 columns, const T* bias, bool add, T* c, i64 c_row) {
  for (i64 r = 0; r < rows; ++r, c += c_row, tile += kNr<T>) {
    for_vectors<T>(columns, [&](i64 i, i64 count) {
      Vec<T> v = load(tile + i);
      if (bias) v += load_n(bias + i, count);
      if (add) v += load_n(c + i, count);
      store_n(c + i, v, count);
    });
  }
}

// Packed rows of A: panel p stands at `at` + rows.start(p) * row.
template <class T>
struct PackedRows {
  const RowPanels& rows;
  const T* at;
  i64 row;
  Operands operands;
  const T* panel(i64 p) const { return at + rows.start(p) * row; }
  Micro<T> multiply(i64 p, i64 columns) const { return micro_for<T>(rows.size(p), columns, operands); }
};

// All tiles of [rows] x [columns], b the packed columns: sink(r0, rows, j0, columns, tile) takes each.
template <class T, class Sink>
JADRO_INLINE void for_tiles(const PackedRows<T>& a, const T* b, i64 k, i64 columns, Sink sink) {
  alignas(64) T tile[kMr * kNr<T>];
  for (i64 j = 0; j < columns; j += kNr<T>, b += k * kNr<T>) {
    const i64 width = min(kNr<T>, columns - j);
    for (i64 p = 0; p < a.rows.count; ++p) {
      a.multiply(p, width)(k, a.panel(p), a.rows.size(p), b, nullptr, tile, nullptr);
      sink(a.rows.start(p), a.rows.size(p), j, width, tile);
    }
  }
}

// c = A B + bias, or c += A B; rows of c stand c_row apart. Tiles of all vectors go there without a buffer.
template <class T>
__attribute__((noinline)) void multiply_panels(const PackedRows<T>& a, const T* b, i64 k, i64 columns, const T* bias,
                                               bool add, T* c, i64 c_row) {
  static constexpr T kNone = 0, kOne = 1;
  alignas(64) T tile[kMr * kNr<T>];
  for (i64 j = 0; j < columns; j += kNr<T>, b += k * kNr<T>) {
    const i64 width = min(kNr<T>, columns - j);
    for (i64 p = 0; p < a.rows.count; ++p) {
      T* const to = c + a.rows.start(p) * c_row + j;
      const T* const of_columns = bias ? bias + j : nullptr;
      constexpr i64 kLine = 64 / sizeof(T);
      for (i64 r = 0; r < a.rows.size(p); ++r) {
        for (i64 i = 0; i < kNr<T>; i += kLine) __builtin_prefetch(to + r * c_row + i, 1);
      }
      const TileEnd<T> end{
          to, c_row, add ? to : of_columns, add ? c_row : 0, &kOne, &kNone, 0, 0, -std::numeric_limits<T>::infinity()};
      const bool ends = width == kNr<T> && !(bias && add);
      a.multiply(p, width)(k, a.panel(p), a.rows.size(p), b, nullptr, tile, ends ? &end : nullptr);
      if (!ends) store_tile(tile, a.rows.size(p), width, of_columns, add, to, c_row);
    }
  }
}

constexpr i64 kMc = kMr * (168 / kMr);  // rows of A that are packed at a time: they stay in the L2

// Elements of scratch that gemm_block needs.
template <class T>
i64 gemm_scratch(i64 m, i64 n) {
  return min(m, kMc) * kKc + kLanes<T> + ceil_div(n, kNr<T>) * kNr<T> * kKc;
}

// C[m,n] over k, of one block of the problem; the passes over k are the same whatever the block.
template <class T>
void gemm_block(const Gemm<T>& g, Range m, Range n, T* scratch) {
  const i64 columns = n.end - n.begin;
  T* const packed_b = scratch;
  T* const packed_a = scratch + ceil_div(columns, kNr<T>) * kNr<T> * kKc;
  for (i64 k0 = 0; k0 == 0 || k0 < g.k; k0 += kKc) {
    const i64 kc = min(kKc, g.k - k0);
    const T* const bias = k0 == 0 && g.bias ? g.bias + n.begin : nullptr;
    pack_b_panels(g.b + k0 * g.b_row + n.begin * g.b_col, g.b_row, g.b_col, kc, columns, packed_b);
    for (i64 m0 = m.begin; m0 < m.end; m0 += kMc) {
      const RowPanels rows(min(kMc, m.end - m0));
      const T* const a = g.a + m0 * g.a_row + k0 * g.a_col;
      const bool blocked = g.a_col == 1;
      if (blocked) {
        pack_a_blocks(a, g.a_row, rows, kc, packed_a);
      } else {
        pack_a_panels(a, g.a_row, g.a_col, rows, kc, packed_a);
      }
      const PackedRows<T> packed{rows, packed_a, blocked ? whole_vectors<T>(kc) : kc,
                                 blocked ? Operands::kBlockedA : Operands::kPlain};
      multiply_panels(packed, packed_b, kc, columns, bias, k0 > 0 || g.accumulate, g.c + m0 * g.c_row + n.begin,
                      g.c_row);
    }
  }
}

// Rows of A that are multiplied without packing B: it would cost more than the product. Dot products read B again for
// every three of them, near the core. So would that of a product of so few terms.
constexpr i64 kThinRows = 4, kDotRows = 32, kThinTerms = 4;
constexpr int kDotsDown = 3;  // rows and columns of A B whose dot products are added up together: 8 to 12 vectors
template <class T, int kRows>
constexpr int dots_across() {
  constexpr int kMost = kRows == 1 ? 8 : 4;
  return kLanes<T> < kMost ? kLanes<T> : kMost;
}

// parts[r * kLanes + c] += the products of row r of a with column c of b, at most `count`, in the lanes that they were
// read in.
template <class T, int kRows>
JADRO_INLINE void add_dots(const Gemm<T>& g, const T* a, const T* b, i64 count, Vec<T>* parts) {
  constexpr int kN = kLanes<T>, kColumns = dots_across<T, kRows>();
  const T* column[kColumns];
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) column[c] = b + min(c, count - 1) * g.b_col;
  const auto add = [&](auto read, i64 p) {
    Vec<T> row[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) row[r] = read(a + r * g.a_row + p);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Vec<T> terms = read(column[c] + p);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) parts[r * kN + c] += row[r] * terms;
    }
  };
  i64 p = 0;
  for (; p + kN <= g.k; p += kN) add([](const T* from) { return load(from); }, p);
  if (p < g.k) add([&](const T* from) { return load_part(from, g.k - p); }, p);
}

// C's columns j .. j + count, at most kLanes, of rows m .. m + kRows, where columns of B are contiguous.
template <class T, int kRows>
void dots(const Gemm<T>& g, i64 m, i64 j, i64 count) {
  constexpr int kN = kLanes<T>, kColumns = dots_across<T, kRows>();
  Vec<T> parts[kRows * kN] = {};
#pragma GCC unroll 8
  for (int c = 0; c < kN; c += kColumns) {
    if (c > 0 && c >= count) break;
    add_dots<T, kRows>(g, g.a + m * g.a_row, g.b + (j + c) * g.b_col, count - c, parts + c);
  }
#pragma GCC unroll 4
  for (i64 r = 0; r < kRows; ++r) {
    Vec<T> sum = sum_each<T>(parts + r * kN);
    T* const c = g.c + (m + r) * g.c_row + j;
    if (g.bias) sum += load_n(g.bias + j, count);
    if (g.accumulate) sum += load_n(c, count);
    store_n(c, sum, count);
  }
}

// C's columns j .. j + count of a row, kThinVectors vectors of them where Whole: sums of rows of B, weighted with a.
constexpr int kThinVectors = 4;
template <class T, bool Whole>
JADRO_INLINE void weighted_rows(const Gemm<T>& g, const T* a, T* c, i64 j, i64 count) {
  const auto lanes = [&](int v) { return Whole ? kLanes<T> : max(0, min(kLanes<T>, count - v * kLanes<T>)); };
  const auto get = [&](const T* from, int v) {
    if constexpr (Whole) return load(from + v * kLanes<T>);
    return load_n(from + v * kLanes<T>, lanes(v));
  };
  Vec<T> sum[kThinVectors] = {};
  for (i64 p = 0; p < g.k; ++p) {
    const T* const b = g.b + p * g.b_row + j;
#pragma GCC unroll 4
    for (int v = 0; v < kThinVectors; ++v) sum[v] += a[p * g.a_col] * get(b, v);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kThinVectors; ++v) {
    if (lanes(v) == 0) break;
    if (g.bias) sum[v] += get(g.bias + j, v);
    if (g.accumulate) sum[v] += get(c + j, v);
    if constexpr (Whole) {
      store(c + j + v * kLanes<T>, sum[v]);
    } else {
      store_n(c + j + v * kLanes<T>, sum[v], lanes(v));
    }
  }
}

// Columns [columns] of C for few rows of A, where B's columns or rows are contiguous; or for few terms and B's rows.
template <class T>
void gemm_thin(const Gemm<T>& g, Range columns) {
  if (g.b_row == 1 && g.a_col == 1 && !(g.k == 1 && g.b_col == 1)) {
    const auto tile = [&](i64 m, i64 j) {
      const i64 rows = g.m - m, count = min(kLanes<T>, columns.end - j);
      (rows == 1 ? dots<T, 1> : rows == 2 ? dots<T, 2> : dots<T, kDotsDown>)(g, m, j, count);
    };
    if (g.m > columns.end - columns.begin) {  // the larger operand is read once
      for (i64 m = 0; m < g.m; m += kDotsDown) {
        for (i64 j = columns.begin; j < columns.end; j += kLanes<T>) tile(m, j);
      }
      return;
    }
    for (i64 j = columns.begin; j < columns.end; j += kLanes<T>) {
      for (i64 m = 0; m < g.m; m += kDotsDown) tile(m, j);
    }
    return;
  }
  constexpr i64 kWhole = kThinVectors * kLanes<T>;
  for (i64 m = 0; m < g.m; ++m) {
    const T* const a = g.a + m * g.a_row;
    T* const c = g.c + m * g.c_row;
    i64 j = columns.begin;
    for (; j + kWhole <= columns.end; j += kWhole) weighted_rows<T, true>(g, a, c, j, kWhole);
    if (j < columns.end) weighted_rows<T, false>(g, a, c, j, columns.end - j);
  }
}

// out[columns] = the sum of the rows of a, or += it: the gradient of a bias. Eight partial sums, added up in a fixed
// order.
template <class T>
void sum_rows(const T* a, i64 rows, i64 row, Range columns, bool accumulate, T* out) {
  constexpr int kParts = 8;
  for_vectors<T>(columns.end - columns.begin, [&](i64 i, i64 count) {
    const T* p = a + columns.begin + i;
    Vec<T> part[kParts] = {};
    for (i64 r = 0; r < rows; ++r, p += row) part[r % kParts] += load_n(p, count);
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) part[k] += part[k + half];
    }
    T* o = out + columns.begin + i;
    store_n(o, accumulate ? load_n(o, count) + part[0] : part[0], count);
  });
}

}  // namespace
}  // namespace jadro
