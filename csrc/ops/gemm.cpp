#include "ops/gemm.h"

#include <algorithm>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

// Blocks of C near this size repay the packing of their operands and leave enough of them to share out.
constexpr i64 kBlockRows = 1024, kBlockColumns = 512;

constexpr i64 kThinColumns = 64, kThinRows = 24;  // of a piece, at least

// Dot products of rows of A with columns of B; of many terms, which hide the sums over their lanes, for more of them.
constexpr i64 kLong = 256, kShort = 32, kNarrow = 8;
template <class T>
bool has_dots(const Gemm<T>& g, i64 sums) {
  const i64 most = g.k >= kLong ? kernels_of<T>().dot_rows : g.k >= kShort ? kNarrow : 0;
  return g.b_row == 1 && g.a_col == 1 && sums <= most;
}
template <class T>
bool has_few_rows(const Gemm<T>& g) {
  const bool along = g.b_col == 1 || (g.b_row == 1 && g.a_col == 1);
  return (along && g.m <= kernels_of<T>().thin_rows) || has_dots(g, g.m);
}
template <class T>
bool is_thin(const Gemm<T>& g) {
  return has_few_rows(g) || has_dots(g, g.n) || (g.k <= kernels_of<T>().thin_terms && g.b_col == 1);
}

template <class T>
void multiply_thin(const Gemm<T>& g, int threads) {
  const Kernels<T>& k = kernels_of<T>();
  const auto share = [&](i64 size, i64 least) {
    return Split(size, std::max((size + threads - 1) / threads, least), least);
  };
  if (has_few_rows(g)) {
    const Split columns = share(g.n, kThinColumns);
    parallel_for(static_cast<int>(columns.count()), threads,
                 [&](int task, int) { k.gemm_thin(g, columns.range(task)); });
    return;
  }
  const Split rows = share(g.m, kThinRows);
  parallel_for(static_cast<int>(rows.count()), threads, [&](int task, int) {
    const Range r = rows.range(task);
    Gemm<T> part = g;
    part.m = r.end - r.begin;
    part.a += r.begin * g.a_row;
    part.c += r.begin * g.c_row;
    k.gemm_thin(part, {0, g.n});
  });
}

// A single column: the row that it is of the transposed product.
template <class T>
bool is_column(const Gemm<T>& g) {
  return g.n == 1 && g.c_row == 1 && g.a_col == 1 && g.b_row == 1;
}
template <class T>
void multiply_column(const Gemm<T>& g, int threads) {
  Gemm<T> row = g;
  row.m = 1, row.n = g.m;
  row.a = g.b, row.a_row = g.b_col, row.a_col = g.b_row;
  row.b = g.a, row.b_row = g.a_col, row.b_col = g.a_row;
  row.bias = nullptr;
  multiply_thin(row, threads);
  for (i64 i = 0; g.bias && i < g.m; ++i) g.c[i] += g.bias[0];
}

template <class T>
void multiply_blocks(const Gemm<T>& g, int threads) {
  const Kernels<T>& k = kernels_of<T>();
  const i64 wanted = threads;
  Split rows(g.m, kBlockRows, k.tile_rows), columns(g.n, kBlockColumns, k.tile_columns);
  while (rows.count() * columns.count() < wanted) {  // the longer side: each block packs its part of both operands
    Split& longer = rows.size() > columns.size() ? rows : columns;
    Split& shorter = &longer == &rows ? columns : rows;
    if (!longer.halve() && !shorter.halve()) break;
  }
  // Few blocks: as many for every thread.
  const auto uneven = [&] { return rows.count() * columns.count() % threads != 0; };
  if (rows.count() * columns.count() < 4 * threads) {
    for (i64 parts = rows.count() + 1; uneven() && parts < rows.count() + threads; ++parts) {
      const Split more(g.m, (g.m + parts - 1) / parts, k.tile_rows);
      if (more.count() * columns.count() % threads == 0) rows = more;
    }
  }
  const Scratch<T> scratch(k.gemm_scratch(rows.size(), columns.size()), threads);
  parallel_for(static_cast<int>(rows.count() * columns.count()), threads, [&](int task, int rank) {
    k.gemm_block(g, rows.range(task % rows.count()), columns.range(task / rows.count()), scratch.at(rank));
  });
}

template <class T>
void multiply(const Gemm<T>& g, int threads) {
  if (is_column(g)) return multiply_column(g, threads);
  is_thin(g) ? multiply_thin(g, threads) : multiply_blocks(g, threads);
}

}  // namespace

template <class T>
void gemm(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  const Verbose<T> line("gemm", is_column(g) || is_thin(g) ? "thin" : "blocked",
                        [&] { return sizes_text({g.m, g.n, g.k}); });
  multiply(g, threads_for(g.m * g.n * g.k));
}

template <class T>
void gemm_batch(const Gemm<T>& first, i64 count, const i64* a_at, const i64* b_at) {
  if (first.m == 0 || first.n == 0 || count == 0) return;
  if (count == 1) return gemm(first);
  const Verbose<T> line("gemm", "batched", [&] { return sizes_text({count, first.m, first.n, first.k}); });
  const auto one = [&](i64 i, int threads) {
    Gemm<T> g = first;
    g.a += a_at[i], g.b += b_at[i], g.c += i * g.m * g.c_row;
    multiply(g, threads);
  };
  const i64 work = first.m * first.n * first.k, some = threads_for(work), all = threads_for(count * work);
  if (some > 1 && count % all != 0 && count < 4 * all) {  // few large products: each by all threads
    for (i64 i = 0; i < count; ++i) one(i, static_cast<int>(some));
    return;
  }
  const Split parts(count, std::max(count / (8 * all), i64{1}), 1);
  parallel_for(static_cast<int>(parts.count()), static_cast<int>(all), [&](int task, int) {
    const Range part = parts.range(task);
    for (i64 i = part.begin; i < part.end; ++i) one(i, 1);
  });
}

template void gemm<float>(const Gemm<float>&);
template void gemm<double>(const Gemm<double>&);
template void gemm_batch<float>(const Gemm<float>&, i64, const i64*, const i64*);
template void gemm_batch<double>(const Gemm<double>&, i64, const i64*, const i64*);

}  // namespace jadro
