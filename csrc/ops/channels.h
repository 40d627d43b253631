// How channels and their items are split over threads: shared by the normalisations.
#pragma once

#include "ops/split.h"

namespace jadro {

// Groups of channels, a multiple of `unit` each, and the items of each channel in pieces where there are few groups.
// Depends on the shape alone.
struct ChannelPlan {
  static constexpr i64 kGrain = 1 << 15;  // numbers of x in a task
  static constexpr i64 kTasks = 16;       // from which on tasks suffice
  i64 items;
  Split groups, pieces;

  ChannelPlan(const BatchNorm& b, i64 unit)
      : items(b.n * b.s),
        groups(b.c, kGrain / (items + 1) + 1, b.s == 1 && unit == 1 ? 64 : unit),
        pieces(items, items / pieces_for(groups, items) + 1, 1) {}

  static i64 pieces_for(const Split& groups, i64 items) {
    const i64 wanted = kTasks / (groups.count() + 1) + 1, most = items * groups.size() / kGrain + 1;
    return wanted < most ? wanted : most;
  }
};

// Per channel: gather(channels, items, piece) of every piece, finish(channels), then apply(channels, items) of every
// piece; in one go where a task has all items of its channels, which are then still in the cache.
template <class Gather, class Finish, class Apply>
void run_channels(const ChannelPlan& plan, i64 channels, Gather gather, Finish finish, Apply apply) {
  const int groups = static_cast<int>(plan.groups.count()), pieces = static_cast<int>(plan.pieces.count());
  if (pieces == 1) {
    parallel_for(groups, [&](int task, int) {
      gather(plan.groups.range(task), Range{0, plan.items}, 0);
      finish(plan.groups.range(task));
      apply(plan.groups.range(task), Range{0, plan.items});
    });
    return;
  }
  parallel_for(groups * pieces, [&](int task, int) {
    gather(plan.groups.range(task % groups), plan.pieces.range(task / groups), task / groups);
  });
  finish(Range{0, channels});
  parallel_for(groups * pieces,
               [&](int task, int) { apply(plan.groups.range(task % groups), plan.pieces.range(task / groups)); });
}

}  // namespace jadro
