#include "ops/conv2d.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/conv2d_choice.h"
#include "ops/conv2d_winograd.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kBlockCells = 256;    // with a pass of the depth, their packed columns take a part of the L2
constexpr i64 kBlockColumns = 288;  // of dw in one block
constexpr i64 kWeightTasks =
    8;  // dw is cut along its sums, too, until there are so many blocks: a property of the shape alone

struct Taps {
  std::vector<i64> h, w;
  void add(i64 row, i64 column) {
    h.push_back(row);
    w.push_back(column);
  }
};

// Where the grid, the source and the destination are rows without end, as for 1x1 kernels, the images are one row each.
void flatten(Conv2dPass& p) {
  const bool whole = p.taps == 1 && p.tap_h[0] == 0 && p.tap_w[0] == 0 && p.step_h == 1 && p.step_w == 1 &&
                     p.dst_step_h == 1 && p.dst_step_w == 1 && p.grid_h == p.src_h && p.grid_w == p.src_w &&
                     p.grid_h == p.dst_h && p.grid_w == p.dst_w;
  if (!whole) return;
  for (i64* width : {&p.grid_w, &p.src_w, &p.dst_w}) *width *= p.grid_h;
  p.grid_h = p.src_h = p.dst_h = 1;
}

Conv2dPass forward_pass(const Conv2d& s, Taps& taps) {
  for (i64 h = 0; h < s.kh; ++h) {
    for (i64 w = 0; w < s.kw; ++w) taps.add(h * s.dilation_h - s.pad_top, w * s.dilation_w - s.pad_left);
  }
  Conv2dPass p{s.n,
               s.groups,
               s.ic / s.groups,
               s.oc / s.groups,
               s.ih,
               s.iw,
               s.oh,
               s.ow,
               s.stride_h,
               s.stride_w,
               s.oh,
               s.ow,
               1,
               1,
               0,
               0,
               s.kh * s.kw,
               taps.h.data(),
               taps.w.data()};
  flatten(p);
  return p;
}

// Blocks of cells: inside a row of the grid where rows are long, across rows and images where they are short.
class CellBlocks {
 public:
  CellBlocks(const Conv2dPass& p, i64 size, i64 unit)
      : long_rows_(p.grid_w >= size),
        row_(long_rows_ ? p.grid_w : p.cells(), size, unit),
        length_(long_rows_ ? p.grid_w : p.cells()) {
    rows_ = long_rows_ ? p.n * p.grid_h : 1;
  }
  bool halve() { return row_.halve(); }
  i64 size() const { return row_.size(); }
  i64 count() const { return rows_ * row_.count(); }
  Range range(i64 i) const {
    const Range r = row_.range(i % row_.count());
    const i64 start = i / row_.count() * length_;
    return {start + r.begin, start + r.end};
  }

 private:
  bool long_rows_;
  Split row_;
  i64 length_, rows_;
};

std::string shape_text(const Conv2d& s) {
  return sizes_text({s.n, s.ic, s.ih, s.iw}) + "->" + sizes_text({s.oc}) + " k" + sizes_text({s.kh, s.kw}) + " s" +
         sizes_text({s.stride_h, s.stride_w}) + " d" + sizes_text({s.dilation_h, s.dilation_w}) + " g" +
         sizes_text({s.groups});
}

template <class T>
void depthwise_product(const Conv2dProduct<T>& a) {
  constexpr i64 kWork = 1 << 16;  // multiply-adds of a task
  const Kernels<T>& k = kernels_of<T>();
  const Conv2dPass& p = a.pass;
  const i64 work = std::max<i64>(1, p.grid_h * p.grid_w * p.out * p.depth());
  const Split items(p.n * p.groups, std::max<i64>(1, kWork / work), 1);
  const int threads = num_threads();
  const Scratch<T> scratch(k.conv2d_depthwise_scratch(p), threads);
  parallel_for(static_cast<int>(items.count()), threads,
               [&](int task, int rank) { k.conv2d_depthwise(a, items.range(task), scratch.at(rank)); });
}

template <class T>
void depthwise_weight(const Conv2dWeight<T>& a) {
  const Kernels<T>& k = kernels_of<T>();
  const int threads = num_threads();
  const Scratch<T> scratch(k.conv2d_depthwise_scratch(a.pass), threads);
  parallel_for(static_cast<int>(a.pass.groups), threads,
               [&](int group, int rank) { k.conv2d_depthwise_weight(a, {group, group + 1}, scratch.at(rank)); });
}

template <class T>
void run_pass(const char* op, const Conv2d& s, const Conv2dPass& p, const T* src, const T* w, T* dst,
              const Conv2dEpilogue<T>& epilogue, Conv2dAlgorithm algorithm) {
  const Kernels<T>& k = kernels_of<T>();
  if (p.cells() == 0) return;
  const bool past = past_caches<T>(p.n * p.groups * p.out * p.dst_h * p.dst_w);
  const Conv2dChoice choice = choose_product<T>(p, algorithm);
  if (choice.algorithm == Conv2dAlgorithm::kWinograd) {
    const Verbose<T> line(op, choice.name(), [&] { return shape_text(s); });
    if (winograd_product(choice.winograd, src, w, dst, epilogue)) return;
  }
  if (choice.depthwise) {
    const Verbose<T> line(op, choice.name(), [&] { return shape_text(s); });
    return depthwise_product<T>({p, src, w, dst, epilogue, true, past});
  }
  const Scratch<T> packed(p.groups * p.packed_size());
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  parallel_for(static_cast<int>(p.groups), threads, [&](int group, int) {
    k.conv2d_pack(p, w + group * p.out * p.depth(), packed.data() + group * p.packed_size());
  });
  const bool direct = choice.algorithm == Conv2dAlgorithm::kDirect;
  const Verbose<T> line(op, direct ? "direct" : "im2col", [&] { return shape_text(s); });
  const Conv2dProduct<T> product{p, src, packed.data(), dst, epilogue, direct, past};
  const i64 wanted = threads > 1 ? 2 * threads : 1, panels = (p.out + k.tile_rows - 1) / k.tile_rows;
  CellBlocks blocks(p, kBlockCells, k.tile_columns);
  while (p.groups * blocks.count() < wanted && blocks.halve()) {
  }
  Split rows(panels, panels, 1);
  while (p.groups * blocks.count() * rows.count() < wanted && rows.halve()) {
  }
  const Scratch<T> scratch(k.conv2d_scratch(p, blocks.size()), threads);
  parallel_for(static_cast<int>(p.groups * blocks.count() * rows.count()), threads, [&](int task, int rank) {
    const i64 group = task / (blocks.count() * rows.count()), rest = task % (blocks.count() * rows.count());
    k.conv2d_block(product, group, blocks.range(rest / rows.count()), rows.range(rest % rows.count()),
                   scratch.at(rank));
  });
}

// Phase `r` of the rows (or columns) of dx: cells i * stride + r are reached from dy at i + (r + pad - k dilation) /
// stride, for the k where that is whole.
std::vector<std::pair<i64, i64>> phase_taps(i64 r, i64 pad, i64 kernel, i64 dilation, i64 stride) {
  std::vector<std::pair<i64, i64>> taps;  // (k, offset)
  for (i64 k = 0; k < kernel; ++k) {
    const i64 d = r + pad - k * dilation;
    if (d % stride == 0) taps.emplace_back(k, d / stride);
  }
  return taps;
}

// w [groups*out, in, kh, kw] -> [groups, in, out, taps]: the filters that lead back from dy to x.
template <class T>
void turn_weights(const Conv2d& s, const std::vector<std::pair<i64, i64>>& rows,
                  const std::vector<std::pair<i64, i64>>& columns, const T* w, T* turned) {
  constexpr i64 kChannels = 16;
  const i64 in = s.ic / s.groups, out = s.oc / s.groups, taps = static_cast<i64>(rows.size() * columns.size());
  const i64 blocks = (in + kChannels - 1) / kChannels;
  parallel_for(static_cast<int>(s.groups * blocks), threads_for(s.groups * in * out * taps), [&](int task, int) {
    const i64 group = task / blocks, c0 = task % blocks * kChannels, c1 = std::min(in, c0 + kChannels);
    for (i64 o = 0; o < out; ++o) {
      for (i64 c = c0; c < c1; ++c) {
        const T* from = w + ((group * out + o) * in + c) * s.kh * s.kw;
        T* to = turned + ((group * in + c) * out + o) * taps;
        for (const auto& row : rows) {
          for (const auto& column : columns) *to++ = from[row.first * s.kw + column.first];
        }
      }
    }
  });
}

template <class T>
void bias_gradient(const Conv2d& s, const T* dy, T* db) {
  const Kernels<T>& k = kernels_of<T>();
  const i64 plane = s.oh * s.ow;
  parallel_for(static_cast<int>(s.oc), threads_for(s.n * s.oc * plane), [&](int c, int) {
    double total = 0;
    for (i64 n = 0; n < s.n; ++n) total += k.sum(dy + (n * s.oc + c) * plane, plane);
    db[c] = static_cast<T>(total);
  });
}

}  // namespace

template <class T>
void conv2d_forward(const Conv2d& s, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                    Conv2dAlgorithm algorithm) {
  Taps taps;
  run_pass("conv2d_forward", s, forward_pass(s, taps), x, w, y, epilogue, algorithm);
}

template <class T>
void conv2d_backward_data(const Conv2d& s, const T* dy, const T* w, T* dx, Conv2dAlgorithm algorithm) {
  for (i64 row = 0; row < std::min(s.stride_h, s.ih); ++row) {
    for (i64 column = 0; column < std::min(s.stride_w, s.iw); ++column) {
      const auto rows = phase_taps(row, s.pad_top, s.kh, s.dilation_h, s.stride_h);
      const auto columns = phase_taps(column, s.pad_left, s.kw, s.dilation_w, s.stride_w);
      Taps taps;
      for (const auto& h : rows) {
        for (const auto& v : columns) taps.add(h.second, v.second);
      }
      const i64 count = static_cast<i64>(rows.size() * columns.size());
      const i64 grid_h = (s.ih - row + s.stride_h - 1) / s.stride_h,
                grid_w = (s.iw - column + s.stride_w - 1) / s.stride_w;
      const Scratch<T> turned(s.oc * (s.ic / s.groups) * count);
      turn_weights(s, rows, columns, w, turned.data());
      Conv2dPass p{s.n,
                   s.groups,
                   s.oc / s.groups,
                   s.ic / s.groups,
                   s.oh,
                   s.ow,
                   grid_h,
                   grid_w,
                   1,
                   1,
                   s.ih,
                   s.iw,
                   s.stride_h,
                   s.stride_w,
                   row,
                   column,
                   count,
                   taps.h.data(),
                   taps.w.data()};
      flatten(p);
      run_pass<T>("conv2d_backward_data", s, p, dy, turned.data(), dx, {}, algorithm);
    }
  }
}

template <class T>
void conv2d_backward_weight(const Conv2d& s, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm) {
  if (db) bias_gradient(s, dy, db);
  if (!dw) return;
  const Kernels<T>& k = kernels_of<T>();
  Taps taps;
  const Conv2dPass p = forward_pass(s, taps);
  const Conv2dChoice choice = choose_weight<T>(p, algorithm);
  if (choice.algorithm == Conv2dAlgorithm::kWinograd && p.cells() > 0) {
    const Verbose<T> line("conv2d_backward_weight", choice.name(), [&] { return shape_text(s); });
    if (winograd_weight(choice.winograd, x, dy, dw)) return;
  }
  if (choice.depthwise && p.cells() > 0) {
    const Verbose<T> line("conv2d_backward_weight", choice.name(), [&] { return shape_text(s); });
    return depthwise_weight<T>({p, x, dy, dw});
  }
  const Verbose<T> line("conv2d_backward_weight", "im2col", [&] { return shape_text(s); });
  const i64 size = s.oc * p.depth();
  if (p.cells() == 0) {
    std::memset(dw, 0, size * sizeof(T));
    return;
  }
  const Split columns(p.depth(), kBlockColumns, k.tile_columns);
  const i64 blocks = p.groups * columns.count();
  const Split cells(p.cells(), std::max<i64>(1, p.cells() / std::max<i64>(1, kWeightTasks / blocks)), k.pass_depth);
  const int threads = threads_for(p.groups * p.cells() * p.depth() * p.out);
  const Scratch<T> scratch(k.conv2d_weight_scratch(p, columns.size()), threads);
  const Scratch<T> partial(size * (cells.count() - 1));  // the first part goes to dw itself
  parallel_for(static_cast<int>(blocks * cells.count()), threads, [&](int task, int rank) {
    const i64 part = task / blocks, block = task % blocks;
    const Conv2dWeight<T> a{p, x, dy, part == 0 ? dw : partial.data() + (part - 1) * size};
    k.conv2d_weight_block(a, block / columns.count(), cells.range(part), columns.range(block % columns.count()),
                          scratch.at(rank));
  });
  for (i64 part = 1; part < cells.count(); ++part) {
    const T* add = partial.data() + (part - 1) * size;
    for (i64 i = 0; i < size; ++i) dw[i] += add[i];
  }
}

#define JADRO_INSTANTIATE(T)                                                                                         \
  template void conv2d_forward<T>(const Conv2d&, const T*, const T*, T*, const Conv2dEpilogue<T>&, Conv2dAlgorithm); \
  template void conv2d_backward_data<T>(const Conv2d&, const T*, const T*, T*, Conv2dAlgorithm);                     \
  template void conv2d_backward_weight<T>(const Conv2d&, const T*, const T*, T*, T*, Conv2dAlgorithm);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
