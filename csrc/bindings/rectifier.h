#pragma once

#include <limits>

#include "bindings/arrays.h"
#include "core/shapes.h"

namespace jadro {

using Bound = std::optional<double>;  // None: infinity
template <class T>
T bound_of(const Bound& most) {
  return static_cast<T>(most.value_or(std::numeric_limits<double>::infinity()));
}

// The arguments relu, slope [channels] or None, and most.
template <class T>
Rectifier<T> rectifier_of(Call& call, bool relu, const std::optional<py::array>& slope, const Bound& most,
                          i64 channels) {
  return {relu, call.in<T>(slope, "slope", {channels}), bound_of<T>(most)};
}

}  // namespace jadro
