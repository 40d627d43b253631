#include "ops/conv2d.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/verbose.h"
#include "ops/conv2d_choice.h"
#include "ops/conv2d_depthwise.h"
#include "ops/conv2d_dilated.h"
#include "ops/conv2d_pass.h"
#include "ops/conv2d_thinned.h"
#include "ops/conv2d_winograd.h"
#include "ops/split.h"

namespace jadro {
namespace {

constexpr i64 kBlockCells = 256;          // with a pass of the depth, their packed columns take a part of the L2
constexpr i64 kFarResult = i64{8} << 20;  // bytes from which on tiles are stored past the caches
constexpr i64 kBlockColumns = 288;        // of dw in one block
constexpr i64 kThreadTasks = 8;           // of a thread, about: blocks side by side, so that few lines change cores
// dw is cut along its sums, too, until there are so many blocks: a property of the shape alone.
constexpr i64 kWeightTasks = 8;

// Blocks of cells: inside a row of the grid where rows are long, across rows and images where they are short.
class CellBlocks {
 public:
  CellBlocks(const Conv2dPass& p, i64 size, i64 unit)
      : long_rows_(p.grid_w >= size),
        row_(long_rows_ ? p.grid_w : p.cells(), size, unit),
        length_(long_rows_ ? p.grid_w : p.cells()) {
    rows_ = long_rows_ ? p.n * p.grid_d * p.grid_h : 1;
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

// The sizes of all axes, without the depth where it is that of images.
std::string axes_text(const Conv2d& s, i64 Conv2dAxis::* size) {
  if (s.d.in == 1 && s.d.kernel == 1) return sizes_text({s.h.*size, s.w.*size});
  return sizes_text({s.d.*size, s.h.*size, s.w.*size});
}

std::string shape_text(const Conv2d& s) {
  return sizes_text({s.n, s.ic}) + "x" + axes_text(s, &Conv2dAxis::in) + "->" + sizes_text({s.oc}) + " k" +
         axes_text(s, &Conv2dAxis::kernel) + " s" + axes_text(s, &Conv2dAxis::stride) + " d" +
         axes_text(s, &Conv2dAxis::dilation) + " g" + sizes_text({s.groups});
}

// Whether the product of one block has its cells as rows: where vectors of cells, but not of channels, stay part empty.
bool cells_as_rows(const Conv2dPass& p, i64 lanes) {
  const i64 filled = (p.cells() + lanes - 1) / lanes * lanes;
  return p.dst_step_d == 1 && p.dst_step_h == 1 && p.dst_step_w == 1 && p.out >= 8 * lanes &&
         9 * filled > 10 * p.cells();
}

// Whether results go past the caches: they are large, and the rows of a tile, each of another plane, do not meet at the
// same place of a page.
template <class T>
bool stores_past(const Conv2dPass& p, i64 tile_rows) {
  constexpr i64 kPage = 4096;
  const i64 bytes = p.dst_plane() * static_cast<i64>(sizeof(T)), apart = std::min(bytes & -bytes, kPage);
  return past_caches<T>(p.n * p.groups * p.out * p.dst_plane(), kFarResult) && tile_rows * apart <= kPage;
}

// The products of the phases of a row, or of one pass, on the engine.
template <class T>
void multiply(const char* op, const Conv2d& s, const std::vector<Conv2dPass>& phases, const T* src, const T* w, T* dst,
              const Conv2dEpilogue<T>& epilogue, const Conv2dChoice& choice) {
  const bool direct = choice.algorithm == Conv2dAlgorithm::kDirect,
             rows_of_cells = choice.cells_are_rows && phases.size() == 1;
  const Verbose<T> line(op, direct ? "direct" : "im2col", [&] { return shape_text(s); });
  const Kernels<T>& k = kernels_of<T>();
  const Conv2dPass& p = phases[0];
  const i64 count = static_cast<i64>(phases.size());
  const bool by_rows = rows_of_cells && p.grid_w < kBlockCells;  // tiles of cells end with a row
  CellBlocks blocks(p, kBlockCells, by_rows ? p.grid_w : k.tile_columns);
  const bool ahead = blocks.count() > 1;  // filters are packed once for all blocks
  const bool turned = rows_of_cells || (!ahead && !direct && count == 1 && cells_as_rows(p, k.lanes));
  const i64 panel = turned ? k.tile_columns : k.tile_rows, panels = (p.out + panel - 1) / panel;
  i64 packed_size = 0, depth = 0;
  const i64 width = turned ? panel : 1;
  for (const Conv2dPass& f : phases) packed_size += ahead ? p.groups * f.packed_size(width) : 0, depth += f.depth();
  const int threads = threads_for(p.groups * p.cells() * depth * p.out);
  const Scratch<T> packed(packed_size);
  std::vector<Conv2dProduct<T>> products;
  T* to = packed.data();
  for (i64 f = 0; f < count; ++f, to += p.groups * phases[f - 1].packed_size(width)) {
    products.push_back(
        {phases[f], src, ahead ? to : w, dst, epilogue, direct, stores_past<T>(p, k.tile_rows), ahead, turned});
  }
  // Without packed filters every part of them repeats the packing of the cells.
  const i64 wanted = threads == 1 ? 1 : ahead ? 2 * threads : threads;
  const auto split = [&](Split& rows, i64 parts) {
    while (parts * rows.count() < wanted && rows.halve()) {
    }
  };
  Split rows(panels, panels, 1);
  if (ahead) {
    Split some(panels, panels, 1);
    split(some, p.groups);
    parallel_for(static_cast<int>(count * p.groups * some.count()), threads, [&](int task, int) {
      const i64 f = task / (p.groups * some.count()), group = task / some.count() % p.groups;
      const Conv2dProduct<T>& a = products[f];
      k.conv2d_pack(a.pass, w + group * a.pass.w_group, turned, some.range(task % some.count()),
                    const_cast<T*>(a.w) + group * a.pass.packed_size(width));
    });
  } else {
    split(rows, p.groups);  // every part of the filters is read once
  }
  while (p.groups * blocks.count() * rows.count() < wanted && blocks.halve()) {
  }
  split(rows, p.groups * blocks.count());
  const Split neighbours(blocks.count(), std::max<i64>(1, p.groups * blocks.count() / (kThreadTasks * threads)), 1);
  i64 need = 0;
  for (const Conv2dProduct<T>& f : products) need += k.conv2d_scratch(f, blocks.size());
  const Scratch<T> scratch(need, threads);
  const i64 tasks = neighbours.count() * rows.count();  // of a group
  parallel_for(static_cast<int>(p.groups * tasks), threads, [&](int task, int rank) {
    const Range some = neighbours.range(task % tasks / rows.count());
    for (i64 block = some.begin; block < some.end; ++block) {
      k.conv2d_block(products.data(), count, task / tasks, blocks.range(block), rows.range(task % rows.count()),
                     scratch.at(rank));
    }
  });
}

template <class T>
void run_pass(const char* op, const Conv2d& s, const Conv2dPass& p, const T* src, const T* w, T* dst,
              const Conv2dEpilogue<T>& epilogue, Conv2dAlgorithm algorithm) {
  if (p.cells() == 0) return;
  const Conv2dChoice choice = choose_product<T>(p, algorithm);
  if (choice.algorithm == Conv2dAlgorithm::kWinograd) {
    const Verbose<T> line(op, choice.name(), [&] { return shape_text(s); });
    if (winograd_product(choice.winograd, src, w, dst, epilogue)) return;
  }
  if (choice.depthwise) {
    const Verbose<T> line(op, choice.name(), [&] { return shape_text(s); });
    return depthwise_product<T>({{p, src, w, dst, epilogue, true, false, false, false}});
  }
  multiply<T>(op, s, {p}, src, w, dst, epilogue, choice);
}

template <class T>
void bias_gradient(const Conv2d& s, const T* dy, T* db) {
  const Kernels<T>& k = kernels_of<T>();
  const i64 plane = s.d.out * s.h.out * s.w.out;
  parallel_for(static_cast<int>(s.oc), threads_for(s.n * s.oc * plane), [&](int c, int) {
    double total = 0;
    for (i64 n = 0; n < s.n; ++n) total += k.sum(dy + (n * s.oc + c) * plane, plane);
    db[c] = static_cast<T>(total);
  });
}

template <class T>
bool is_plain(const Conv2dEpilogue<T>& e) {
  return !(e.bias || e.scale || e.add || e.rectifier.on);
}

// Zeros for the rows of dx that no tap reaches, as where the stride is beyond the kernel.
template <class T>
void clear_rows(const Conv2dPass& p, T* dst) {
  const i64 planes = p.n * p.groups * p.out;
  parallel_for(static_cast<int>(planes), threads_for(planes * p.grid_d * p.grid_h * p.dst_w), [&](int plane, int) {
    for (i64 row = 0; row < p.grid_d * p.grid_h; ++row) {
      const i64 d = row / p.grid_h * p.dst_step_d + p.dst_d0, h = row % p.grid_h * p.dst_step_h + p.dst_h0;
      std::memset(dst + plane * p.dst_plane() + (d * p.dst_h + h) * p.dst_w, 0, p.dst_w * sizeof(T));
    }
  });
}

// The phases (d, h, 0 ...) of a part of the padded dx: together, or each as it is computed fastest.
template <class T>
void backward_rows(const Conv2d& s, const Windows& part, i64 d, i64 h, const T* dy, const T* w, T* dst,
                   const Conv2dEpilogue<T>& epilogue, Conv2dAlgorithm algorithm) {
  const i64 count = std::min(s.w.stride, part.w.size);
  std::vector<BackwardPhase> phases;
  phases.reserve(count);
  for (i64 f = 0; f < count; ++f) {
    phases.emplace_back(s, part, std::array<i64, 3>{d, h, f});
  }
  const auto most = std::max_element(phases.begin(), phases.end(),
                                     [](const auto& a, const auto& b) { return a.pass.taps < b.pass.taps; });
  if (most->pass.taps == 0 && is_plain(epilogue)) return clear_rows(most->pass, dst);
  // Phases of fewer taps than others have no use for Winograd's form of them.
  const bool alike = phases[0].pass.taps == phases[count - 1].pass.taps;
  const Conv2dChoice choice = choose_product<T>(most->pass, algorithm, alike);
  const bool by_rows = choice.depthwise && conv2d_by_rows(most->pass) && count == 2;
  const bool together = count > 1 && count <= kConv2dPhases && (!choice.depthwise || by_rows) &&
                        choice.algorithm != Conv2dAlgorithm::kWinograd;
  if (!together || most->pass.cells() == 0) {
    for (const auto& f : phases) {
      run_pass("conv2d_backward_data", s, f.pass, dy, w, dst, epilogue, algorithm);
    }
    return;
  }
  Conv2dPass common = most->pass;  // what the phases share: the widest grid, the planes, the passes over the depth
  common.grid_w = phases[0].pass.grid_w;
  for (const auto& f : phases) {
    if (f.pass.taps == 0) continue;
    common.reach_w.begin = std::min(common.reach_w.begin, f.pass.reach_w.begin);
    common.reach_w.end = std::max(common.reach_w.end, f.pass.reach_w.end);
  }
  std::vector<Conv2dPass> passes;
  for (const auto& f : phases) {
    Conv2dPass p = common;
    p.taps = f.pass.taps, p.tap_h = f.pass.tap_h, p.tap_w = f.pass.tap_w, p.place = f.pass.place,
    p.dst_w0 = f.pass.dst_w0;
    passes.push_back(p);
  }
  if (by_rows) {
    const Verbose<T> line("conv2d_backward_data", choice.name(), [&] { return shape_text(s); });
    std::vector<Conv2dProduct<T>> products;
    for (i64 f = 0; f < count; ++f) products.push_back({passes[f], dy, w, dst, epilogue, true, false, false, false});
    return depthwise_product(products);
  }
  multiply("conv2d_backward_data", s, passes, dy, w, dst, epilogue, choice);
}

// Depthwise 3x3 kernels of stride 2: the four phases together. False where the kernel or the choice is another.
template <class T>
bool backward_three_by_three(const Conv2d& s, const Windows& part, const T* dy, const T* w, T* dst,
                             const Conv2dEpilogue<T>& epilogue, Conv2dAlgorithm algorithm) {
  const auto fits = [](const Conv2dAxis& a, const Window& window) {
    return a.kernel == 3 && a.stride == 2 && a.dilation == 1 && window.size > 1;
  };
  if (s.groups == 1 || !fits(s.h, part.h) || !fits(s.w, part.w)) return false;
  std::vector<BackwardPhase> phases;
  phases.reserve(4);
  for (i64 f = 0; f < 4; ++f) phases.emplace_back(s, part, std::array<i64, 3>{0, f / 2, f % 2});
  i64 taps = 0;
  const auto by_rows = [&](const BackwardPhase& f) {
    taps += f.pass.taps;
    return conv2d_by_rows(f.pass) && choose_product<T>(f.pass, algorithm).depthwise;
  };
  if (phases[0].pass.cells() == 0 || !std::all_of(phases.begin(), phases.end(), by_rows) || taps < 9) return false;
  const Verbose<T> line("conv2d_backward_data", "depthwise", [&] { return shape_text(s); });
  std::vector<Conv2dProduct<T>> products;
  for (const BackwardPhase& f : phases) products.push_back({f.pass, dy, w, dst, epilogue, true, false, false, false});
  depthwise_product(products);
  return true;
}

// A part [n, ic, windows] of the padded dx.
template <class T>
void backward_part(const Conv2d& s, const Windows& part, const T* dy, const T* w, T* dst,
                   const Conv2dEpilogue<T>& epilogue, Conv2dAlgorithm algorithm) {
  if (backward_three_by_three(s, part, dy, w, dst, epilogue, algorithm)) return;
  for (i64 d = 0; d < std::min(s.d.stride, part.d.size); ++d) {
    for (i64 h = 0; h < std::min(s.h.stride, part.h.size); ++h) {
      backward_rows(s, part, d, h, dy, w, dst, epilogue, algorithm);
    }
  }
}

// The padding before and after each axis: an earlier axis between its own padding, a later one with it.
std::vector<Windows> borders(const Conv2d& s) {
  std::vector<Windows> parts;
  const Conv2dAxis* const axes[] = {&s.d, &s.h, &s.w};
  for (int axis = 0; axis < 3; ++axis) {
    for (const bool before : {true, false}) {
      Window part[3];
      for (int a = 0; a < 3; ++a) {
        const Conv2dAxis& of = *axes[a];
        part[a] = a < axis ? Window{0, of.in} : Window{-of.before, of.before + of.in + of.after};
      }
      const Conv2dAxis& of = *axes[axis];
      part[axis] = before ? Window{-of.before, of.before} : Window{of.in, of.after};
      const Windows whole{part[0], part[1], part[2]};
      if (whole.cells() > 0) parts.push_back(whole);
    }
  }
  return parts;
}

// dx += what a border's cells show of it.
template <class T>
void fold(const Conv2d& s, const Windows& part, const T* border, T* dx) {
  const i64 plane = s.d.in * s.h.in * s.w.in;
  const i64 begin = std::clamp<i64>(-part.w.begin, 0, part.w.size);
  const i64 end = std::clamp<i64>(s.w.in - part.w.begin, begin, part.w.size);
  parallel_for(static_cast<int>(s.n * s.ic), threads_for(s.n * s.ic * part.cells()), [&](int item, int) {
    const T* from = border + item * part.cells();
    for (i64 row = 0; row < part.d.size * part.h.size; ++row, from += part.w.size) {
      const i64 d = source_cell(s.padding_mode, part.d.begin + row / part.h.size, s.d.in);
      const i64 h = source_cell(s.padding_mode, part.h.begin + row % part.h.size, s.h.in);
      T* const to = dx + item * plane + (d * s.h.in + h) * s.w.in;
      const auto edge = [&](i64 first, i64 last) {
        for (i64 x = first; x < last; ++x) to[source_cell(s.padding_mode, part.w.begin + x, s.w.in)] += from[x];
      };
      edge(0, begin);
      for (i64 x = begin; x < end; ++x) to[part.w.begin + x] += from[x];
      edge(end, part.w.size);
    }
  });
}

i64 output_plane(const Conv2d& s) { return s.d.out * s.h.out * s.w.out; }

template <class T>
void weight_of_parts(const Thinned& thin, const Conv2d& s, const T* dy, const T* x, T* dw, Conv2dAlgorithm algorithm) {
  const i64 size = s.oc * (s.ic / s.groups) * kernel_size(s);
  const Scratch<T> sum(thin.parts<T>() > 1 ? size : 0);  // of a part but the first
  thin.for_parts<T>([&](const Conv2d& part, i64 first) {
    const Scratch<T> cells(thin.cells(part));
    thin.take(part, x + first * thin.volume(), cells.data());
    T* const to = first == 0 ? dw : sum.data();
    conv2d_backward_weight<T>(part, dy + first * s.oc * output_plane(s), cells.data(), to, nullptr, algorithm);
    for (i64 i = 0; first > 0 && i < size; ++i) dw[i] += to[i];
  });
}

// Zeros for the elements of the kernel that meet only padding. False where there are none.
template <class T>
bool weight_of_met_taps(const Conv2d& s, const T* dy, const T* x, T* dw, Conv2dAlgorithm algorithm) {
  const Conv2d met = of_met_taps(s);
  const i64 channels = s.ic / s.groups, all = kernel_size(s), some = kernel_size(met);
  if (some == all) return false;
  const Scratch<T> taps(s.oc * channels * some);
  conv2d_backward_weight<T>(met, dy, x, taps.data(), nullptr, algorithm);
  const std::vector<i64> place = forward_taps(s).place;
  parallel_for(static_cast<int>(s.oc), threads_for(s.oc * channels * all), [&](int o, int) {
    T* to = dw + o * channels * all;
    std::memset(to, 0, channels * all * sizeof(T));
    for (const T* from = taps.data() + o * channels * some; to < dw + (o + 1) * channels * all; to += all) {
      for (i64 t = 0; t < some; ++t) to[place[t]] = *from++;
    }
  });
  return true;
}

}  // namespace

template <class T>
void conv2d_forward(const Conv2d& shape, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                    Conv2dAlgorithm algorithm) {
  const Conv2d s = as_image(shape);
  if (const std::optional<Thinned> thin = thinned(s)) {
    return thin->template for_parts<T>([&](const Conv2d& part, i64 first) {
      const i64 at = first * s.oc * output_plane(s);
      Conv2dEpilogue<T> end = epilogue;
      if (end.add) end.add += at;
      const Scratch<T> cells(thin->cells(part));
      thin->take(part, x + first * thin->volume(), cells.data());
      conv2d_forward(part, cells.data(), w, y + at, end, algorithm);
    });
  }
  if (dilated_forward(s, x, w, y, epilogue, algorithm)) return;
  const Taps taps = forward_taps(s);
  run_pass("conv2d_forward", s, forward_pass(s, taps), x, w, y, epilogue, algorithm);
}

template <class T>
void conv2d_backward_data(const Conv2d& shape, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                          Conv2dAlgorithm algorithm) {
  const Conv2d s = as_image(shape);
  const std::optional<Thinned> thin = thinned(s);
  if (thin && is_plain(epilogue)) {
    return thin->template for_parts<T>([&](const Conv2d& part, i64 first) {
      const Scratch<T> cells(thin->cells(part));
      conv2d_backward_data(part, dy + first * s.oc * output_plane(s), w, cells.data(), epilogue, algorithm);
      thin->spread(part, cells.data(), dx + first * thin->volume());
    });
  }
  if (dilated_backward_data(s, dy, w, dx, epilogue, algorithm)) return;
  backward_part(s, {{0, s.d.in}, {0, s.h.in}, {0, s.w.in}}, dy, w, dx, epilogue, algorithm);
  if (s.padding_mode == PaddingMode::kZeros) return;
  for (const Windows& part : borders(s)) {
    const Scratch<T> border(s.n * s.ic * part.cells());
    backward_part<T>(s, part, dy, w, border.data(), {}, algorithm);
    fold(s, part, border.data(), dx);
  }
}

template <class T>
void conv2d_backward_weight(const Conv2d& shape, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm) {
  const Conv2d s = as_image(shape);
  if (db) bias_gradient(s, dy, db);
  if (!dw) return;
  if (const std::optional<Thinned> thin = thinned(s)) return weight_of_parts(*thin, s, dy, x, dw, algorithm);
  if (weight_of_met_taps(s, dy, x, dw, algorithm)) return;
  if (dilated_backward_weight(s, dy, x, dw, algorithm)) return;
  const Kernels<T>& k = kernels_of<T>();
  const Taps taps = forward_taps(s);
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
  template void conv2d_backward_data<T>(const Conv2d&, const T*, const T*, T*, const Conv2dEpilogue<T>&,             \
                                        Conv2dAlgorithm);                                                            \
  template void conv2d_backward_weight<T>(const Conv2d&, const T*, const T*, T*, T*, Conv2dAlgorithm);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
