#include "ops/pool2d.h"

#include <atomic>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/verbose.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 15;        // numbers read and written
constexpr i64 kMostScratch = 1 << 16;  // numbers of a plane that stays in the cache of a core

Split planes_of(i64 planes, i64 outputs, i64 size) { return Split(planes, kGrain / (size + outputs + 1) + 1, 1); }

// Whether every index is that of a place of its plane, or -1.
template <class T>
bool indices_inside(const Split& pieces, i64 outputs, i64 size, const std::int32_t* indices) {
  std::atomic<bool> inside{true};
  parallel_for(static_cast<int>(pieces.count()), [&](int task, int) {
    const Range r = pieces.range(task);
    if (!kernels_of<T>().max_pool2d_indices_inside(indices + r.begin * outputs, (r.end - r.begin) * outputs, size)) {
      inside = false;
    }
  });
  return inside;
}

// Without trailing axes of one place that no window leaves: columns are rows.
Pool2d as_rows(Pool2d p) {
  for (int axis = 0; axis < 2 && p.iw == 1 && p.ow == 1 && (p.adaptive || (p.kw == 1 && p.pad_left == 0)); ++axis) {
    p.iw = p.ih, p.ow = p.oh, p.kw = p.kh, p.stride_w = p.stride_h, p.pad_left = p.pad_top, p.dilation_w = p.dilation_h;
    p.ih = p.id, p.oh = p.od, p.kh = p.kd, p.stride_h = p.stride_d, p.pad_top = p.pad_front,
    p.dilation_h = p.dilation_d;
    p.id = p.od = p.kd = p.stride_d = p.dilation_d = 1, p.pad_front = 0;
  }
  return p;
}

}  // namespace

template <class T>
void max_pool2d_forward(const Pool2d& shape, const T* x, T* y, std::int32_t* indices) {
  const Pool2d p = as_rows(shape);
  const Verbose<T> line("max_pool2d_forward", indices ? "rows, indices" : "rows", [&] {
    return sizes_text({p.planes, p.id, p.ih, p.iw}) + " kernel " + sizes_text({p.kd, p.kh, p.kw}) + " stride " +
           sizes_text({p.stride_d, p.stride_h, p.stride_w});
  });
  const i64 cells = p.planes * (p.id * p.ih * p.iw + p.od * p.oh * p.ow);
  if (p.planes * p.od * p.oh * p.ow == 0) return;
  const Kernels<T>& k = kernels_of<T>();
  const PoolWork work = k.max_pool2d_work(p, indices);
  const Split items(work.items, kGrain / (cells / work.items + 1) + 1, 1);
  const int tasks = static_cast<int>(items.count());
  const int threads = tasks > 1 ? num_threads() : 1;
  const Scratch<T> scratch(static_cast<std::size_t>(work.scratch), threads);
  parallel_for(tasks, threads, [&](int task, int rank) {
    k.max_pool2d_forward(p, x, items.range(task), y, indices, scratch.at(rank));
  });
}

template <class T>
bool max_pool2d_backward(i64 planes, i64 outputs, i64 size, const T* dy, const std::int32_t* indices, T* dx) {
  const Verbose<T> line("max_pool2d_backward", "planes", [&] { return sizes_text({planes, outputs, size}); });
  const Kernels<T>& k = kernels_of<T>();
  const Split pieces = planes_of(planes, outputs, size);
  const bool past = past_caches<T>(planes * size) && size <= kMostScratch;
  const int threads = num_threads();
  if (!indices_inside<T>(pieces, outputs, size, indices)) return false;
  const Scratch<T> scratch(static_cast<std::size_t>(past ? size : 0), threads);
  parallel_for(static_cast<int>(pieces.count()), threads, [&](int task, int rank) {
    k.max_pool2d_backward(dy, indices, pieces.range(task), outputs, size, dx, past ? scratch.at(rank) : nullptr);
  });
  return true;
}

template <class T>
bool max_unpool2d_forward(i64 planes, i64 inputs, i64 size, const T* x, const std::int32_t* indices, T* y) {
  const Verbose<T> line("max_unpool2d_forward", "planes", [&] { return sizes_text({planes, inputs, size}); });
  const Split pieces = planes_of(planes, inputs, size);
  if (!indices_inside<T>(pieces, inputs, size, indices)) return false;
  parallel_for(static_cast<int>(pieces.count()), [&](int task, int) {
    kernels_of<T>().max_unpool2d_forward(x, indices, pieces.range(task), inputs, size, y);
  });
  return true;
}

template <class T>
bool max_unpool2d_backward(i64 planes, i64 inputs, i64 size, const T* dy, const std::int32_t* indices, T* dx) {
  const Verbose<T> line("max_unpool2d_backward", "planes", [&] { return sizes_text({planes, inputs, size}); });
  const Split pieces = planes_of(planes, inputs, size);
  if (!indices_inside<T>(pieces, inputs, size, indices)) return false;
  parallel_for(static_cast<int>(pieces.count()), [&](int task, int) {
    kernels_of<T>().max_unpool2d_backward(dy, indices, pieces.range(task), inputs, size, dx);
  });
  return true;
}

template void max_pool2d_forward<float>(const Pool2d&, const float*, float*, std::int32_t*);
template void max_pool2d_forward<double>(const Pool2d&, const double*, double*, std::int32_t*);
template bool max_pool2d_backward<float>(i64, i64, i64, const float*, const std::int32_t*, float*);
template bool max_pool2d_backward<double>(i64, i64, i64, const double*, const std::int32_t*, double*);
template bool max_unpool2d_forward<float>(i64, i64, i64, const float*, const std::int32_t*, float*);
template bool max_unpool2d_forward<double>(i64, i64, i64, const double*, const std::int32_t*, double*);
template bool max_unpool2d_backward<float>(i64, i64, i64, const float*, const std::int32_t*, float*);
template bool max_unpool2d_backward<double>(i64, i64, i64, const double*, const std::int32_t*, double*);

}  // namespace jadro
