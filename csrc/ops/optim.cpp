#include "ops/optim.h"

#include "core/cpu.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 14, kUnit = 64;

template <class Arrays>
i64 total_of(const Arrays& arrays) {
  i64 total = 0;
  for (const auto& a : arrays) total += a.n;
  return total;
}

// f(array, range of it) for all arrays as one run of elements, cut into equal pieces; f(..., piece) tells them apart.
template <class Arrays, class F>
void for_pieces(const Arrays& arrays, F f) {
  const Split pieces(total_of(arrays), kGrain, kUnit);
  parallel_for(static_cast<int>(pieces.count()), [&](int task, int) {
    const Range piece = pieces.range(task);
    i64 start = 0;  // of the array in the run
    for (const auto& a : arrays) {
      const i64 begin = piece.begin > start ? piece.begin - start : 0;
      const i64 end = piece.end - start < a.n ? piece.end - start : a.n;
      if (begin < end) f(a, Range{begin, end}, task);
      start += a.n;
    }
  });
}

const char* name_of(OptimRule rule) {
  static constexpr const char* kNames[] = {
      "sgd",           "sgd, momentum", "adagrad",        "rmsprop", "rmsprop, momentum", "rmsprop, centered",
      "rmsprop, both", "adam",          "adam, largest v"};
  return kNames[static_cast<int>(rule)];
}

}  // namespace

template <class T>
void optim_step(OptimRule rule, const OptimStep<T>& step, const std::vector<OptimParameter<T>>& parameters) {
  const Verbose<T> line("optim_step", name_of(rule), [&] { return sizes_text({total_of(parameters)}); });
  const auto kernel = kernels_of<T>().optim_step[static_cast<int>(rule)];
  for_pieces(parameters, [&](const OptimParameter<T>& a, Range range, int) { kernel(step, a, range); });
}

template <class T>
double grad_norm(Norm norm, const std::vector<Span<T>>& arrays) {
  const Verbose<T> line("grad_norm", "fused", [&] { return sizes_text({total_of(arrays)}); });
  const Kernels<T>& k = kernels_of<T>();
  const auto join = [&](double a, double b) { return norm != Norm::kLargest ? a + b : b > a || b != b ? b : a; };
  std::vector<double> parts(static_cast<std::size_t>(Split(total_of(arrays), kGrain, kUnit).count()));
  for_pieces(arrays, [&](const Span<T>& a, Range r, int piece) {
    double& part = parts[static_cast<std::size_t>(piece)];
    part = join(part, k.grad_norm(norm, a.x + r.begin, r.end - r.begin));
  });
  double result = 0;
  for (double part : parts) result = join(result, part);
  return result;
}

template <class T>
void grad_clip(T scale, T low, T high, const std::vector<Span<T>>& arrays) {
  const Verbose<T> line("grad_clip", "fused", [&] { return sizes_text({total_of(arrays)}); });
  const Kernels<T>& k = kernels_of<T>();
  for_pieces(arrays,
             [&](const Span<T>& a, Range r, int) { k.grad_clip(scale, low, high, a.x + r.begin, r.end - r.begin); });
}

#define JADRO_INSTANTIATE(T)                                                                          \
  template void optim_step<T>(OptimRule, const OptimStep<T>&, const std::vector<OptimParameter<T>>&); \
  template double grad_norm<T>(Norm, const std::vector<Span<T>>&);                                    \
  template void grad_clip<T>(T, T, T, const std::vector<Span<T>>&);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
