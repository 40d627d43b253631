#include "ops/embedding.h"

#include <cstring>

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15;  // elements
constexpr i64 kLine = 16;        // columns: a cache line of floats, which two threads should not share
constexpr i64 kColumnGrain = 64;

i64 rows_per_task(i64 e) { return kGrain / (e > 0 ? e : 1) + 1; }

}  // namespace

template <class T>
void embedding_forward(i64 e, i64 rows, const T* weight, const i64* ids, T* y) {
  const Verbose<T> line("embedding_forward", "rows", [&] { return sizes_text({rows, e}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(rows, rows_per_task(e), 1,
                  [&](Range r) { k.embedding_forward(weight, e, ids + r.begin, r.end - r.begin, y + r.begin * e); });
}

template <class T>
void embedding_backward(i64 v, i64 e, i64 rows, const T* dy, const i64* ids, i64 padding_idx, T* dweight) {
  const Verbose<T> line("embedding_backward", "columns", [&] { return sizes_text({rows, v, e}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(v, rows_per_task(e), 1, [&](Range r) {
    std::memset(dweight + r.begin * e, 0, static_cast<std::size_t>((r.end - r.begin) * e) * sizeof(T));
  });
  const i64 columns = rows * e > kGrain ? kColumnGrain : e;
  parallel_ranges(rows > 0 ? e : 0, columns, kLine,
                  [&](Range r) { k.embedding_backward(dy, e, ids, rows, padding_idx, r, dweight); });
}

template void embedding_forward<float>(i64, i64, const float*, const i64*, float*);
template void embedding_forward<double>(i64, i64, const double*, const i64*, double*);
template void embedding_backward<float>(i64, i64, i64, const float*, const i64*, i64, float*);
template void embedding_backward<double>(i64, i64, i64, const double*, const i64*, i64, double*);

}  // namespace jadro
