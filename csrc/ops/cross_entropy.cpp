#include "ops/cross_entropy.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

i64 rows_per_task(i64 classes) { return (1 << 13) / (classes > 0 ? classes : 1) + 1; }

}  // namespace

template <class T>
void cross_entropy_forward(const CrossEntropy<T>& problem, i64 rows, T* losses, T* lse) {
  const Verbose<T> line("cross_entropy_forward", "rows", [&] { return sizes_text({rows, problem.classes}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(rows, rows_per_task(problem.classes), 1,
                  [&](Range r) { k.cross_entropy_forward(problem, r, losses, lse); });
}

template <class T>
void cross_entropy_backward(const CrossEntropy<T>& problem, i64 rows, const T* lse, const T* dlosses, T* dx) {
  const Verbose<T> line("cross_entropy_backward", "rows", [&] { return sizes_text({rows, problem.classes}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(rows, rows_per_task(problem.classes), 1,
                  [&](Range r) { k.cross_entropy_backward(problem, r, lse, dlosses, dx); });
}

template void cross_entropy_forward<float>(const CrossEntropy<float>&, i64, float*, float*);
template void cross_entropy_forward<double>(const CrossEntropy<double>&, i64, double*, double*);
template void cross_entropy_backward<float>(const CrossEntropy<float>&, i64, const float*, const float*, float*);
template void cross_entropy_backward<double>(const CrossEntropy<double>&, i64, const double*, const double*, double*);

}  // namespace jadro
