#include "ops/conv2d_depthwise.h"

#include <algorithm>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/conv2d_choice.h"
#include "ops/split.h"

namespace jadro {
namespace {

// How the planes of a pass are computed: turned into vectors of channels, by their rows where they stand, or copied
// into one run each, where the rows of a block would meet many taps.
enum class Way { kChannels, kRows, kRuns };

template <class T>
Way way_of(const Conv2dPass& p, bool phases, bool weight) {
  constexpr i64 kFewTaps = 9;
  const Kernels<T>& k = kernels_of<T>();
  if (!phases && k.conv2d_by_channels(p, weight)) return Way::kChannels;
  if (!conv2d_by_rows(p) || (p.dst_step_w > 1 && !phases)) return Way::kRuns;
  const i64 high = p.reach_h.end - p.reach_h.begin + 1, wide = p.reach_w.end - p.reach_w.begin + 1;
  const bool square =
      p.taps == high * wide && high == wide && (high == 5 || high == 7) && p.step_h == 1 && p.step_w == 1;
  const bool run = weight ? p.grid_h == 1 : !phases && p.taps > kFewTaps && p.grid_h > 1 && !square;
  return run && k.conv2d_depthwise_scratch(p) < kDepthwiseElements ? Way::kRuns : Way::kRows;
}

}  // namespace

template <class T>
void depthwise_product(const std::vector<Conv2dProduct<T>>& phases) {
  constexpr i64 kWork = 1 << 16;  // multiply-adds of a task, at least
  constexpr i64 kTasks = 8;       // of a thread, at most: each finds the places of the taps again
  const Kernels<T>& k = kernels_of<T>();
  const Conv2dPass& p = phases[0].pass;
  const Way way = way_of<T>(p, phases.size() > 1, false);
  const bool runs = way == Way::kRuns;
  const i64 planes = p.n * p.groups * (runs ? 1 : p.out), depth = p.depth() * (runs ? p.out : 1);
  const int threads = threads_for(planes * p.grid() * depth);
  const i64 least = kWork / std::max<i64>(1, p.grid() * depth), even = planes / (kTasks * threads);
  const Split items(planes, std::max<i64>({1, least, even}), runs ? 1 : k.lanes);
  const Scratch<T> scratch(runs ? k.conv2d_depthwise_scratch(p) : 0, threads);
  parallel_for(static_cast<int>(items.count()), threads, [&](int task, int rank) {
    const Range some = items.range(task);
    if (way == Way::kChannels) {
      k.conv2d_channels(phases[0], some);
    } else if (way == Way::kRows) {
      k.conv2d_rows(phases.data(), static_cast<i64>(phases.size()), some);
    } else {
      k.conv2d_depthwise(phases[0], some, scratch.at(rank));
    }
  });
}

template <class T>
void depthwise_weight(const Conv2dWeight<T>& a) {
  const Kernels<T>& k = kernels_of<T>();
  const Conv2dPass& p = a.pass;
  const Way way = way_of<T>(p, false, true);
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  const Scratch<T> scratch(way == Way::kRuns ? k.conv2d_depthwise_scratch(p) : 0, threads);
  const bool together = way == Way::kChannels || (way == Way::kRows && p.groups >= 8 * k.lanes);
  const Split groups(p.groups, 1, together ? k.lanes : 1);
  parallel_for(static_cast<int>(groups.count()), threads, [&](int task, int rank) {
    const Range some = groups.range(task);
    if (way == Way::kChannels) {
      k.conv2d_channels_weight(a, some);
    } else if (way == Way::kRows) {
      k.conv2d_rows_weight(a, {some.begin * p.out, some.end * p.out});
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
