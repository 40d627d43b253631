#include "ops/conv2d_dilated.h"

#include <algorithm>
#include <optional>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/conv2d_choice.h"
#include "ops/conv2d_pass.h"

namespace jadro {
namespace {

constexpr i64 kPartBytes = i64{8} << 20;  // of the phases of some images: they stay near
constexpr i64 kLeastWork = 1 << 20;       // multiply-adds
constexpr double kCopyCost = 24;          // of a vector, in cycles

// Planes of [rows, columns] cells of the phases of each image.
struct PhaseImages {
  PhasePlane plane;
  i64 planes;  // of an image

  i64 phases() const { return plane.step_h * plane.step_w; }
  i64 image() const { return planes * plane.height * plane.width; }
  i64 cells() const { return phases() * planes * plane.rows * plane.columns; }  // of the phases of an image
  template <class T>
  void split(i64 n, const T* images, T* cells) const {
    for_planes(n, [&](i64 from, i64 to) { kernels_of<T>().split_phases(plane, images + from, cells + to); });
  }
  template <class T>
  void join(i64 n, const T* cells, T* images) const {
    for_planes(n, [&](i64 to, i64 from) { kernels_of<T>().join_phases(plane, cells + from, images + to); });
  }

 private:
  template <class F>
  void for_planes(i64 n, F f) const {
    const i64 size = plane.height * plane.width;
    parallel_for(static_cast<int>(n * planes), threads_for(n * planes * size),
                 [&](int i, int) { f(i * size, i / planes * cells() + i % planes * plane.rows * plane.columns); });
  }
};

// Output o meets o + k dilation - before = dilation (o' + k - before') + f - lead, where o = dilation o' + f.
Conv2dAxis dense_axis(const Conv2dAxis& a) {
  const i64 d = a.dilation, before = a.before / d, in = (a.in + a.before % d + d - 1) / d, out = (a.out + d - 1) / d;
  return {in, out, a.kernel, 1, before, out + a.kernel - 1 - before - in, 1};
}

struct Dilated {
  Conv2d dense;  // on the phases of all images
  PhaseImages x, y;

  explicit Dilated(const Conv2d& s) : dense(s) {
    dense.h = dense_axis(s.h), dense.w = dense_axis(s.w), dense.n *= s.h.dilation * s.w.dilation;
    x = {{s.h.in, s.w.in, dense.h.in, dense.w.in, s.h.dilation, s.w.dilation, s.h.before % s.h.dilation,
          s.w.before % s.w.dilation, s.ic * s.d.in * dense.h.in * dense.w.in},
         s.ic * s.d.in};
    y = {{s.h.out, s.w.out, dense.h.out, dense.w.out, s.h.dilation, s.w.dilation, 0, 0,
          s.oc * s.d.out * dense.h.out * dense.w.out},
         s.oc * s.d.out};
  }

  // f(dense shape, images, number of the first), so many at a time that their phases stay near.
  template <class T, class F>
  void for_parts(F f) const {
    const i64 n = dense.n / x.phases(), bytes = (x.cells() + y.cells()) * static_cast<i64>(sizeof(T));
    const i64 some = std::max<i64>(1, kPartBytes / bytes);
    for (i64 first = 0; first < n; first += some) {
      Conv2d part = dense;
      const i64 count = std::min(some, n - first);
      part.n = count * x.phases();
      f(part, count, first);
    }
  }

  // Images of `in` to images of `out`: f(dense shape, cells, results).
  template <class T, class F>
  void compute(const PhaseImages& in, const T* from, const PhaseImages& out, T* to, F f) const {
    for_parts<T>([&](const Conv2d& part, i64 n, i64 first) {
      const Scratch<T> cells(n * in.cells()), results(n * out.cells());
      in.split(n, from + first * in.image(), cells.data());
      f(part, cells.data(), results.data());
      out.join(n, results.data(), to + first * out.image());
    });
  }
};

// The phases, where Winograd is asked for or predicted faster on them than `choose` finds the whole image to be.
template <class T, class Choose>
std::optional<Dilated> dilated(const Conv2d& s, Conv2dAlgorithm algorithm, Choose choose) {
  const bool asked = algorithm == Conv2dAlgorithm::kWinograd;
  if (!(asked || algorithm == Conv2dAlgorithm::kAuto) || s.padding_mode != PaddingMode::kZeros || s.n == 0) return {};
  if (s.h.kernel == 1 || s.w.kernel == 1) return {};
  if (s.h.stride > 1 || s.w.stride > 1 || s.w.dilation == 1 || s.h.before < 0 || s.w.before < 0) return {};
  const Dilated phases(s);
  if (phases.x.image() == 0 || phases.y.image() == 0) return {};
  if (asked) return phases;
  if (s.n * s.oc * s.d.out * s.h.out * s.w.out * (s.ic / s.groups) * kernel_size(s) < kLeastWork) return {};
  const Conv2dChoice dense = choose(phases.dense);
  if (dense.algorithm != Conv2dAlgorithm::kWinograd) return {};
  const double copied = s.n * (phases.x.cells() + phases.y.cells()) / kernels_of<T>().lanes;
  return dense.cost + kCopyCost * copied < choose(s).cost ? std::optional<Dilated>(phases) : std::nullopt;
}

}  // namespace

template <class T>
bool dilated_forward(const Conv2d& s, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                     Conv2dAlgorithm algorithm) {
  if (epilogue.add) return false;
  const std::optional<Dilated> phases = dilated<T>(s, algorithm, [](const Conv2d& of) {
    const Taps taps = forward_taps(of);
    return choose_product<T>(forward_pass(of, taps), Conv2dAlgorithm::kAuto);
  });
  if (!phases) return false;
  phases->compute(phases->x, x, phases->y, y, [&](const Conv2d& part, const T* cells, T* results) {
    conv2d_forward(part, cells, w, results, epilogue, algorithm);
  });
  return true;
}

template <class T>
bool dilated_backward_data(const Conv2d& s, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm) {
  if (epilogue.add) return false;
  const std::optional<Dilated> phases = dilated<T>(s, algorithm, [](const Conv2d& of) {
    const Windows whole{{0, of.d.in}, {0, of.h.in}, {0, of.w.in}};
    return choose_product<T>(BackwardPhase(of, whole, {0, 0, 0}).pass, Conv2dAlgorithm::kAuto);
  });
  if (!phases) return false;
  phases->compute(phases->y, dy, phases->x, dx, [&](const Conv2d& part, const T* cells, T* results) {
    conv2d_backward_data(part, cells, w, results, epilogue, algorithm);
  });
  return true;
}

template <class T>
bool dilated_backward_weight(const Conv2d& s, const T* dy, const T* x, T* dw, Conv2dAlgorithm algorithm) {
  const std::optional<Dilated> phases = dilated<T>(s, algorithm, [](const Conv2d& of) {
    const Taps taps = forward_taps(of);
    return choose_weight<T>(forward_pass(of, taps), Conv2dAlgorithm::kAuto);
  });
  if (!phases) return false;
  const i64 size = s.oc * (s.ic / s.groups) * kernel_size(s);
  phases->for_parts<T>([&](const Conv2d& part, i64 n, i64 first) {
    const Scratch<T> cells(n * phases->x.cells()), cotangents(n * phases->y.cells()), sum(first > 0 ? size : 0);
    phases->x.split(n, x + first * phases->x.image(), cells.data());
    phases->y.split(n, dy + first * phases->y.image(), cotangents.data());
    T* const to = first > 0 ? sum.data() : dw;  // of a part but the first
    conv2d_backward_weight<T>(part, cotangents.data(), cells.data(), to, nullptr, algorithm);
    for (i64 i = 0; first > 0 && i < size; ++i) dw[i] += to[i];
  });
  return true;
}

#define JADRO_INSTANTIATE(T)                                                                                          \
  template bool dilated_forward<T>(const Conv2d&, const T*, const T*, T*, const Conv2dEpilogue<T>&, Conv2dAlgorithm); \
  template bool dilated_backward_data<T>(const Conv2d&, const T*, const T*, T*, const Conv2dEpilogue<T>&,             \
                                         Conv2dAlgorithm);                                                            \
  template bool dilated_backward_weight<T>(const Conv2d&, const T*, const T*, T*, Conv2dAlgorithm);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
