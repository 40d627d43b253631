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

constexpr i64 kThinColumns = 64, kThinRows = 32;  // of a piece, at least

template <class T>
bool has_few_rows(const Gemm<T>& g) {
  const Kernels<T>& k = kernels_of<T>();
  constexpr i64 kLong = 256;  // dot products of as many terms hide the sums over their lanes
  const bool dots = g.b_row == 1 && g.a_col == 1;
  return ((dots || g.b_col == 1) && g.m <= k.thin_rows) || (dots && g.k >= kLong && g.m <= k.dot_rows);
}
template <class T>
bool is_thin(const Gemm<T>& g) {
  return has_few_rows(g) || (g.k <= kernels_of<T>().thin_terms && g.b_col == 1);
}

template <class T>
void multiply_thin(const Gemm<T>& g) {
  const Verbose<T> line("gemm", "thin", [&] { return sizes_text({g.m, g.n, g.k}); });
  const Kernels<T>& k = kernels_of<T>();
  const int threads = threads_for(g.m * g.n * g.k);
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
void multiply_column(const Gemm<T>& g) {
  Gemm<T> row = g;
  row.m = 1, row.n = g.m;
  row.a = g.b, row.a_row = g.b_col, row.a_col = g.b_row;
  row.b = g.a, row.b_row = g.a_col, row.b_col = g.a_row;
  row.bias = nullptr;
  multiply_thin(row);
  for (i64 i = 0; g.bias && i < g.m; ++i) g.c[i] += g.bias[0];
}

}  // namespace

template <class T>
void gemm(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.n == 1 && g.c_row == 1 && g.a_col == 1 && g.b_row == 1) return multiply_column(g);
  if (is_thin(g)) return multiply_thin(g);
  const Verbose<T> line("gemm", "blocked", [&] { return sizes_text({g.m, g.n, g.k}); });
  const Kernels<T>& k = kernels_of<T>();
  const int threads = threads_for(g.m * g.n * g.k);
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

template void gemm<float>(const Gemm<float>&);
template void gemm<double>(const Gemm<double>&);

}  // namespace jadro
