#include "ops/group_norm.h"

#include <cmath>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/verbose.h"
#include "ops/channels.h"

namespace jadro {
namespace {

constexpr i64 kGrain = 1 << 14, kMostBlocks = 64;

// Every channel of every row as a channel of its own: what batch norm's kernels see.
ChannelShape channels_of(const ChannelShape& shape) { return {1, shape.n * shape.c, shape.s}; }

// Rows in blocks; few where each sums the gradients of weights.
Split rows_of(i64 rows, i64 size, bool sums) {
  constexpr i64 kRow = 128;  // what the work of a row comes to besides its numbers
  const i64 block = (sums ? kGrain : kGrain / 2) / (size + kRow) + 1, least = sums ? rows / kMostBlocks + 1 : 1;
  return Split(rows, block > least ? block : least, 1);
}

template <class T>
void rows_forward(const GroupNormForward<T>& f) {
  const i64 k = f.shape.c / f.groups, size = k * f.shape.s, rows = f.shape.n * f.groups;
  const GroupNormRows<T> g{f.groups, k, f.shape.s, f.weight, f.bias, f.eps};
  // Results of layer norm are not stored past the caches: that is slower where nothing else is.
  const bool past = f.shape.s > 1 && f.x != f.y && past_caches<T>(rows * size);
  const Split blocks = rows_of(rows, size, false);
  parallel_for(static_cast<int>(blocks.count()), [&](int task, int) {
    kernels_of<T>().group_norm_rows_forward(g, f.x, blocks.range(task), f.y, f.save_mean, f.save_rstd, past);
  });
}

template <class T>
void rows_backward(const GroupNormBackward<T>& b) {
  const i64 c = b.shape.c, k = c / b.groups, size = k * b.shape.s, rows = b.shape.n * b.groups;
  const GroupNormRows<T> g{b.groups, k, b.shape.s, b.weight, nullptr, 0};
  const bool summed = b.dweight || b.dbias, past = past_caches<T>(rows * size);
  const Split blocks = rows_of(rows, size, summed);
  const Scratch<T> sums(static_cast<std::size_t>(summed ? 2 * c * blocks.count() : 0));  // dweight, dbias of each block
  parallel_for(static_cast<int>(blocks.count()), [&](int task, int) {
    T* const dw = summed ? sums.data() + 2 * c * task : nullptr;
    for (i64 i = 0; summed && i < 2 * c; ++i) dw[i] = 0;
    kernels_of<T>().group_norm_rows_backward(g, b.dy, b.x, blocks.range(task), b.save_mean, b.save_rstd, b.dx, dw,
                                             dw ? dw + c : nullptr, past);
  });
  if (!summed) return;
  parallel_ranges(c, kGrain / (blocks.count() + 1) + 1, 64, [&](Range columns) {
    for (i64 i = columns.begin; i < columns.end; ++i) {
      double dw = 0, db = 0;
      for (i64 block = 0; block < blocks.count(); ++block) {
        dw += sums.data()[2 * c * block + i];
        db += sums.data()[2 * c * block + c + i];
      }
      if (b.dweight) b.dweight[i] = static_cast<T>(dw);
      if (b.dbias) b.dbias[i] = static_cast<T>(db);
    }
  });
}

// From the moments of all channels of piece p (row p / groups, group p % groups): what is saved, and mean, scale and
// bias of each channel.
template <class T>
void finish_forward(const GroupNormForward<T>& f, i64 p, const Moments& m, T* mean, T* scale, T* bias) {
  const i64 k = f.shape.c / f.groups;
  const double rstd = 1 / std::sqrt(m.squares / m.count + f.eps);
  f.save_mean[p] = static_cast<T>(m.mean);
  f.save_rstd[p] = static_cast<T>(rstd);
  for (i64 i = p * k; i < (p + 1) * k; ++i) {
    const i64 c = i % f.shape.c;
    mean[i] = f.save_mean[p];
    scale[i] = static_cast<T>(f.weight ? rstd * f.weight[c] : rstd);
    // What the rounding of the mean took away goes into the bias.
    bias[i] = static_cast<T>((f.bias ? f.bias[c] : 0.0) - (m.mean - mean[i]) * scale[i]);
  }
}

template <class T>
void move_running(const GroupNormForward<T>& f, const Moments* pieces) {
  if (!f.running_mean || !f.running_var || f.shape.n == 0) return;
  for (i64 c = 0; c < f.shape.c; ++c) {
    double mean = 0, var = 0;
    for (i64 n = 0; n < f.shape.n; ++n) {
      const Moments& m = pieces[n * f.shape.c + c];
      mean += m.mean / static_cast<double>(f.shape.n);
      var += m.squares / (m.count - 1) / static_cast<double>(f.shape.n);
    }
    f.running_mean[c] = static_cast<T>(f.running_mean[c] + f.momentum * (mean - f.running_mean[c]));
    f.running_var[c] = static_cast<T>(f.running_var[c] + f.momentum * (var - f.running_var[c]));
  }
}

template <class T>
void channels_forward(const GroupNormForward<T>& f) {
  const Kernels<T>& kernels = kernels_of<T>();
  const ChannelShape shape = channels_of(f.shape);
  const i64 k = f.shape.c / f.groups;
  const ChannelPlan plan(shape, k);
  const i64 pieces = plan.pieces.count();
  const Scratch<Moments> moments(static_cast<std::size_t>(pieces * shape.c + shape.c / k));
  const Scratch<T> numbers(static_cast<std::size_t>((pieces + 3) * shape.c));
  Moments* const totals = moments.data() + pieces * shape.c;
  T *const mean = numbers.data(), *const scale = mean + shape.c, *const bias = scale + shape.c;
  T* const scratch = bias + shape.c;
  const auto gather = [&](Range group, Range items, i64 piece) {
    kernels.batch_norm_moments(shape, f.x, group, items, scratch + piece * shape.c, moments.data() + piece * shape.c);
  };
  const auto finish = [&](Range group) {
    for (i64 p = group.begin / k; p < group.end / k; ++p) {
      Moments m{0, 0, 0};
      for (i64 c = p * k; c < (p + 1) * k; ++c) {
        for (i64 piece = 0; piece < pieces; ++piece) m = merge(m, moments.data()[piece * shape.c + c]);
      }
      totals[p] = m;
      finish_forward(f, p, m, mean, scale, bias);
    }
  };
  const bool past = f.x != f.y && past_caches<T>(shape.c * plan.items);
  run_channels(plan, shape.c, gather, finish, [&](Range group, Range items) {
    kernels.batch_norm_apply(shape, f.x, group, items, mean, scale, bias, nullptr, {}, f.y, past);
  });
  move_running(f, totals);
}

template <class T>
void channels_backward(const GroupNormBackward<T>& b) {
  const Kernels<T>& kernels = kernels_of<T>();
  const ChannelShape shape = channels_of(b.shape);
  const i64 k = b.shape.c / b.groups;
  const ChannelPlan plan(shape, k);
  const i64 pieces = plan.pieces.count();
  const Scratch<BatchNormSums> sums(static_cast<std::size_t>((pieces + 1) * shape.c));
  const Scratch<T> numbers(static_cast<std::size_t>(5 * shape.c));
  BatchNormSums* const totals = sums.data() + pieces * shape.c;
  T *const mean = numbers.data(), *const shift = mean + shape.c, *const slope = shift + shape.c;
  T *const scale = slope + shape.c, *const gain = scale + shape.c;
  for (i64 c = 0; c < shape.c; ++c) mean[c] = b.save_mean[c / k];
  const BatchNormMask<T> all{};
  const auto gather = [&](Range group, Range items, i64 piece) {
    kernels.batch_norm_sums(shape, b.dy, b.x, all, group, items, mean, sums.data() + piece * shape.c);
  };
  const auto weight = [&](i64 c) { return b.weight ? static_cast<double>(b.weight[c % b.shape.c]) : 1.0; };
  const auto finish = [&](Range group) {
    for (i64 p = group.begin / k; p < group.end / k; ++p) {
      const double rstd = b.save_rstd[p], count = static_cast<double>(k * b.shape.s);
      BatchNormSums whole{0, 0};
      for (i64 c = p * k; c < (p + 1) * k; ++c) {
        totals[c] = {0, 0};
        for (i64 piece = 0; piece < pieces; ++piece) {
          totals[c].dy += sums.data()[piece * shape.c + c].dy;
          totals[c].dy_x += sums.data()[piece * shape.c + c].dy_x;
        }
        whole.dy += totals[c].dy * weight(c);
        whole.dy_x += totals[c].dy_x * weight(c);
      }
      for (i64 c = p * k; c < (p + 1) * k; ++c) {
        shift[c] = static_cast<T>(whole.dy / count);
        slope[c] = static_cast<T>(whole.dy_x / count * rstd * rstd);
        scale[c] = b.save_rstd[p];
        gain[c] = static_cast<T>(weight(c));
      }
    }
  };
  const bool past = past_caches<T>(shape.c * plan.items);
  run_channels(plan, shape.c, gather, finish, [&](Range group, Range items) {
    if (!b.dx) return;
    kernels.batch_norm_gradient(shape, b.dy, b.x, all, group, items, mean, gain, shift, slope, scale, b.dx, past);
  });
  for (i64 c = 0; c < b.shape.c && (b.dweight || b.dbias); ++c) {
    double dw = 0, db = 0;
    for (i64 n = 0; n < b.shape.n; ++n) {
      const BatchNormSums& sum = totals[n * b.shape.c + c];
      dw += sum.dy_x * b.save_rstd[(n * b.shape.c + c) / k];
      db += sum.dy;
    }
    if (b.dweight) b.dweight[c] = static_cast<T>(dw);
    if (b.dbias) b.dbias[c] = static_cast<T>(db);
  }
}

// Whether each row is normalised whole, by one thread: where there are enough of them, or little to do in each.
bool by_rows(const ChannelShape& shape, i64 groups) {
  constexpr i64 kRows = 16, kSmall = 1 << 16;
  return shape.s == 1 || shape.n * groups >= kRows || shape.c / groups * shape.s <= kSmall;
}

}  // namespace

template <class T>
void group_norm_forward(const GroupNormForward<T>& f) {
  const bool rows = by_rows(f.shape, f.groups) && !(f.running_mean && f.running_var);
  const Verbose<T> line("group_norm_forward", rows ? "rows" : "channels",
                        [&] { return sizes_text({f.shape.n, f.groups, f.shape.c / f.groups, f.shape.s}); });
  rows ? rows_forward(f) : channels_forward(f);
}

template <class T>
void group_norm_backward(const GroupNormBackward<T>& b) {
  const bool rows = by_rows(b.shape, b.groups);
  const Verbose<T> line("group_norm_backward", rows ? "rows" : "channels",
                        [&] { return sizes_text({b.shape.n, b.groups, b.shape.c / b.groups, b.shape.s}); });
  rows ? rows_backward(b) : channels_backward(b);
}

template void group_norm_forward<float>(const GroupNormForward<float>&);
template void group_norm_forward<double>(const GroupNormForward<double>&);
template void group_norm_backward<float>(const GroupNormBackward<float>&);
template void group_norm_backward<double>(const GroupNormBackward<double>&);

}  // namespace jadro
