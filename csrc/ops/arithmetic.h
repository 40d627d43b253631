#pragma once

#include "core/shapes.h"

namespace jadro {

// y[n] = f(a, b), b unused where f takes one operand; numbers (step 0) are repeated kRepeated times.
constexpr int kRepeated = 16;
void arithmetic(Arithmetic f, Operand<float> a, Operand<float> b, float* y, i64 n);

// y[n] = a where the mask is not 0, else b.
void select(const unsigned char* mask, Operand<float> a, Operand<float> b, float* y, i64 n);

}  // namespace jadro
