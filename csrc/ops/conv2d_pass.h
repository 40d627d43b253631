// From the shape of a convolution to the passes of the engine that compute it.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "core/kernel_table.h"

namespace jadro {

// Elements of the kernel along one axis, and where in the source each stands from a cell's own place.
using AxisTaps = std::vector<std::pair<i64, i64>>;

struct Taps {
  std::vector<i64> d, h, w, place;

  Taps(const Conv2d& s, const AxisTaps& depths, const AxisTaps& rows, const AxisTaps& columns);
  void enter(Conv2dPass& p) const;
};

// Those of the forward pass that meet more than padding.
Taps forward_taps(const Conv2d&);
Conv2dPass forward_pass(const Conv2d&, const Taps&);

i64 kernel_size(const Conv2d&);

// The convolution with the part of its kernel that meets more than padding.
Conv2d of_met_taps(const Conv2d&);

// What a convolution is in memory: an axis of one cell that no tap leaves is none, so that columns are rows; a volume
// whose kernel has depth alone is an image of [depth, rows * columns].
Conv2d as_image(const Conv2d&);

// Part of an axis of the padded dx: its cells [begin, begin + size), 0 being the first of dx itself.
struct Window {
  i64 begin, size;
};
struct Windows {
  Window d, h, w;
  i64 cells() const { return d.size * h.size * w.size; }
};

// One phase of a part of the padded dx, and the pass that computes it.
struct BackwardPhase {
  Taps taps;
  Conv2dPass pass{};

  BackwardPhase(const Conv2d& s, const Windows& part, const std::array<i64, 3>& phase);
};

}  // namespace jadro
