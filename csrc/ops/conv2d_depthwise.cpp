#include "ops/conv2d_depthwise.h"

#include <algorithm>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/conv2d_choice.h"
#include "ops/split.h"

namespace jadro {

template <class T>
void depthwise_product(const std::vector<Conv2dProduct<T>>& phases) {
  constexpr i64 kWork = 1 << 16;  // multiply-adds of a task
  const Kernels<T>& k = kernels_of<T>();
  const Conv2dPass& p = phases[0].pass;
  const bool by_rows = conv2d_by_rows(p) && (phases.size() == 4 || p.dst_step_w == static_cast<i64>(phases.size()));
  const i64 planes = p.n * p.groups * (by_rows ? p.out : 1), depth = p.depth() * (by_rows ? 1 : p.out);
  const Split items(planes, std::max<i64>(1, kWork / std::max<i64>(1, p.grid() * depth)), by_rows ? k.lanes : 1);
  const int threads = threads_for(planes * p.grid() * depth);
  const Scratch<T> scratch(by_rows ? 0 : k.conv2d_depthwise_scratch(p), threads);
  parallel_for(static_cast<int>(items.count()), threads, [&](int task, int rank) {
    if (by_rows) {
      k.conv2d_rows(phases.data(), static_cast<i64>(phases.size()), items.range(task));
    } else {
      k.conv2d_depthwise(phases[0], items.range(task), scratch.at(rank));
    }
  });
}

template <class T>
void depthwise_weight(const Conv2dWeight<T>& a) {
  const Kernels<T>& k = kernels_of<T>();
  const bool by_rows = conv2d_by_rows(a.pass);
  const int threads = threads_for(a.pass.groups * a.pass.cells() * a.pass.depth() * a.pass.out);
  const Scratch<T> scratch(by_rows ? 0 : k.conv2d_depthwise_scratch(a.pass), threads);
  const Split groups(a.pass.groups, 1, by_rows && a.pass.groups >= 8 * k.lanes ? k.lanes : 1);
  parallel_for(static_cast<int>(groups.count()), threads, [&](int task, int rank) {
    const Range some = groups.range(task);
    if (by_rows) {
      k.conv2d_rows_weight(a, {some.begin * a.pass.out, some.end * a.pass.out});
    } else {
      k.conv2d_depthwise_weight(a, some, scratch.at(rank));
    }
  });
}

#define JADRO_INSTANTIATE(T)                                                       \
  template void depthwise_product<T>(const std::vector<Conv2dProduct<T>>& phases); \
  template void depthwise_weight<T>(const Conv2dWeight<T>&);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
