#pragma once

#include "core/shapes.h"
#include "cuda/float16.h"
#include "cuda/runtime.h"

namespace jadro::cuda {

// One step of all parameters. 16-bit floats are computed in float, and their states are 16-bit floats as well.
template <class T>
cudaError_t optim_step(OptimRule rule, const OptimStep<Sum<T>>& step, const OptimParameter<T>* parameters, i64 count,
                       cudaStream_t stream);

// The sum of |x| or x^2 over all arrays, or the largest |x|, NaN where there is one, to *result on the host: waits for
// the stream. `scratch` has grad_norm_scratch elements.
template <class T>
i64 grad_norm_scratch(const Span<T>* arrays, i64 count);
template <class T>
cudaError_t grad_norm(Norm norm, const Span<T>* arrays, i64 count, double* result, double* scratch,
                      cudaStream_t stream);

// x = min(max(scale x, low), high) for every element of all arrays.
template <class T>
cudaError_t grad_clip(Sum<T> scale, Sum<T> low, Sum<T> high, const Span<T>* arrays, i64 count, cudaStream_t stream);

}  // namespace jadro::cuda
