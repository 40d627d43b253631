#pragma once

#include <vector>

#include "core/shapes.h"

namespace jadro {

// All parameters as one run of elements, shared out in equal pieces.
template <class T>
void adam_step(const AdamStep<T>& step, const std::vector<AdamParameter<T>>& parameters);

}  // namespace jadro
