#include "ops/adam.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 14, kUnit = 64;

}  // namespace

template <class T>
void adam_step(const AdamStep<T>& step, const std::vector<AdamParameter<T>>& parameters) {
  i64 total = 0;
  for (const AdamParameter<T>& a : parameters) total += a.n;
  const Verbose<T> line("adam_step", "fused", [&] { return sizes_text({total}); });
  const Kernels<T>& k = kernels_of<T>();
  parallel_ranges(total, kGrain, kUnit, [&](Range piece) {
    i64 start = 0;  // of the parameter in the run
    for (const AdamParameter<T>& a : parameters) {
      const i64 begin = piece.begin > start ? piece.begin - start : 0;
      const i64 end = piece.end - start < a.n ? piece.end - start : a.n;
      if (begin < end) k.adam_step(step, a, {begin, end});
      start += a.n;
    }
  });
}

template void adam_step<float>(const AdamStep<float>&, const std::vector<AdamParameter<float>>&);
template void adam_step<double>(const AdamStep<double>&, const std::vector<AdamParameter<double>>&);

}  // namespace jadro
