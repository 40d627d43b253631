// Which form of convolution is predicted fastest for a pass.
#pragma once

#include <optional>

#include "core/kernel_table.h"
#include "ops/conv2d.h"

namespace jadro {

// The shape with tiles of m x m cells, where Winograd can compute the pass: neighbouring taps, steps of 1, or of 2 on
// one side, and F(2x2, 3x3), F(4x4, 3x3), F(2x2, 5x5) or F(4x4, 2x2).
std::optional<Winograd> winograd_shape(const Conv2dPass&, i64 m, i64 lanes);

// Elements of scratch up to which a depthwise pass copies its planes.
constexpr i64 kDepthwiseElements = i64{1} << 18;

// Whether a depthwise pass over planes can read them in place, row by row.
bool conv2d_by_rows(const Conv2dPass&);

// The form to run: kDirect, on the engine or plane by plane; kIm2col; or kWinograd with its tiles.
struct Conv2dChoice {
  Conv2dAlgorithm algorithm;
  bool depthwise;
  Winograd winograd;
  bool cells_are_rows = false;  // of the direct product
  double cost = 0;              // as predicted for kAuto, but for planes that are computed one by one
  const char* name() const;
};

// The cheapest form for kAuto, without `winograd` among the others, else the one asked for.
template <class T>
Conv2dChoice choose_product(const Conv2dPass&, Conv2dAlgorithm, bool winograd = true);
template <class T>
Conv2dChoice choose_weight(const Conv2dPass&, Conv2dAlgorithm);

}  // namespace jadro
