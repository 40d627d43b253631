#include "ops/conv2d_thinned.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/cpu.h"
#include "core/thread_pool.h"

namespace jadro {
namespace {

// Cells that are met lie so far apart.
i64 step_of(const Conv2dAxis& a) { return a.kernel == 1 ? a.stride : std::gcd(a.stride, a.dilation); }

// The cells first, first + step, ... of an axis. Output o meets o stride + k dilation - before = step (o stride' + k
// dilation' - before') + first.
Conv2dAxis thin_axis(const Conv2dAxis& a, i64 step, i64* first) {
  Conv2dAxis thin = a;
  thin.before = a.before >= 0 ? (a.before + step - 1) / step : -(-a.before / step);
  *first = step * thin.before - a.before;
  thin.in = a.in > *first ? (a.in - *first + step - 1) / step : 0;
  thin.stride = a.stride / step, thin.dilation = a.kernel == 1 ? 1 : a.dilation / step;
  thin.after = (a.out - 1) * thin.stride + (a.kernel - 1) * thin.dilation + 1 - thin.before - thin.in;
  return thin;
}

}  // namespace

Thinned::Thinned(const Conv2d& s) : shape_(s), channels_(s.ic), depth_(s.d.in), step_d_(step_of(s.d)) {
  plane_.height = s.h.in, plane_.width = s.w.in, plane_.step_h = step_of(s.h), plane_.step_w = step_of(s.w);
  shape_.d = thin_axis(s.d, step_d_, &first_d_);
  shape_.h = thin_axis(s.h, plane_.step_h, &plane_.first_h);
  shape_.w = thin_axis(s.w, plane_.step_w, &plane_.first_w);
  plane_.rows = shape_.h.in, plane_.columns = shape_.w.in;
}

template <class T>
void Thinned::take(const Conv2d& part, const T* x, T* cells) const {
  const i64 own = plane_.rows * plane_.columns, depth = shape_.d.in, planes = part.n * channels_ * depth;
  parallel_for(static_cast<int>(planes), threads_for(planes * own), [&](int i, int) {
    const i64 from = i / depth * depth_ + first_d_ + i % depth * step_d_;
    kernels_of<T>().take_cells(plane_, x + from * plane_.height * plane_.width, cells + i * own);
  });
}

template <class T>
void Thinned::spread(const Conv2d& part, const T* cells, T* x) const {
  const i64 own = plane_.rows * plane_.columns, plane = plane_.height * plane_.width;
  const i64 planes = part.n * channels_ * depth_;
  parallel_for(static_cast<int>(planes), threads_for(planes * plane), [&](int i, int) {
    const i64 ahead = i % depth_ - first_d_, place = ahead / step_d_;
    if (ahead < 0 || ahead % step_d_ != 0 || place >= shape_.d.in) {
      std::memset(x + i * plane, 0, plane * sizeof(T));
      return;
    }
    kernels_of<T>().spread_cells(plane_, cells + (i / depth_ * shape_.d.in + place) * own, x + i * plane);
  });
}

// Rows of the engine's planes leave cells out without a copy; columns do not.
std::optional<Thinned> thinned(const Conv2d& s) {
  if (s.padding_mode != PaddingMode::kZeros || step_of(s.w) == 1 || s.n == 0) return {};
  const Thinned thin(s);
  return thin.is_empty() ? std::nullopt : std::optional<Thinned>(thin);
}

#define JADRO_INSTANTIATE(T)                                      \
  template void Thinned::take(const Conv2d&, const T*, T*) const; \
  template void Thinned::spread(const Conv2d&, const T*, T*) const;
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
