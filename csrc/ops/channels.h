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

  ChannelPlan(const ChannelShape& b, i64 unit)
      : items(b.n * b.s),
        groups(b.c, kGrain / (items + 1) + 1, b.s == 1 && unit == 1 ? 64 : unit),
        pieces(items, items / pieces_for(groups, items) + 1, 1) {}

  static i64 pieces_for(const Split& groups, i64 items) {
    const i64 wanted = kTasks / (groups.count() + 1) + 1, most = items * groups.size() / kGrain + 1;
    return wanted < most ? wanted : most;
  }
};

// f(channels, items, piece) for every group of channels and every piece of their items.
template <class F>
void for_pieces(const ChannelPlan& plan, F f) {
  const int groups = static_cast<int>(plan.groups.count()), pieces = static_cast<int>(plan.pieces.count());
  parallel_for(groups * pieces, [&](int task, int) {
    f(plan.groups.range(task % groups), plan.pieces.range(task / groups), task / groups);
  });
}

// Per channel: gather(channels, items, piece) of every piece, finish(channels), then apply(channels, items) of every
// piece; in one go where a task has all items of its channels, which are then still in the cache.
template <class Gather, class Finish, class Apply>
void run_channels(const ChannelPlan& plan, i64 channels, Gather gather, Finish finish, Apply apply) {
  if (plan.pieces.count() == 1) {
    return for_pieces(plan, [&](Range group, Range items, i64) {
      gather(group, items, 0);
      finish(group);
      apply(group, items);
    });
  }
  for_pieces(plan, gather);
  finish(Range{0, channels});
  for_pieces(plan, [&](Range group, Range items, i64) { apply(group, items); });
}

}  // namespace jadro
