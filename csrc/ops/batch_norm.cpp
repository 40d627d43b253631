#include "ops/batch_norm.h"

#include <cmath>

#include "core/cpu.h"
#include "core/memory.h"
#include "core/verbose.h"
#include "ops/channels.h"

namespace jadro {
namespace {

// From the moments of channel c: what is saved, the running moments, and scale and bias of y = (x - save_mean) scale +
// bias.
template <class T>
void finish_forward(const BatchNormForward<T>& f, i64 c, const Moments& m, T* scale, T* bias) {
  const double rstd = 1 / std::sqrt(m.squares / m.count + f.eps);
  f.save_mean[c] = static_cast<T>(m.mean);
  f.save_rstd[c] = static_cast<T>(rstd);
  scale[c] = static_cast<T>(f.weight ? rstd * f.weight[c] : rstd);
  // What the rounding of the mean took away goes into the bias.
  bias[c] = static_cast<T>((f.bias ? f.bias[c] : 0.0) - (m.mean - f.save_mean[c]) * scale[c]);
  if (!f.training || m.count == 0) return;
  const auto move = [&](T* running, double value) {
    if (running) running[c] = static_cast<T>(running[c] + f.momentum * (value - running[c]));
  };
  move(f.running_mean, m.mean);
  move(f.running_var, m.squares / (m.count - 1));
}

// From the sums of channel c: the gradients of weight and bias, and the numbers of dx = (dy - shift - (x - save_mean)
// slope) scale.
template <class T>
void finish_backward(const BatchNormBackward<T>& b, i64 c, double count, const BatchNormSums& sums, T* shift, T* slope,
                     T* scale) {
  const double rstd = b.save_rstd[c];
  if (b.dweight) b.dweight[c] = static_cast<T>(sums.dy_x * rstd);
  if (b.dbias) b.dbias[c] = static_cast<T>(sums.dy);
  shift[c] = static_cast<T>(b.training ? sums.dy / count : 0);
  slope[c] = static_cast<T>(b.training ? sums.dy_x * rstd * rstd / count : 0);
  scale[c] = static_cast<T>(b.weight ? rstd * b.weight[c] : rstd);
}

}  // namespace

template <class T>
void batch_norm_forward(const BatchNormForward<T>& f) {
  const i64 channels = f.shape.c;
  const Verbose<T> line("batch_norm_forward", f.training ? "training" : "evaluation",
                        [&] { return sizes_text({f.shape.n, channels, f.shape.s}); });
  const Kernels<T>& k = kernels_of<T>();
  const ChannelPlan plan(f.shape, 1);
  const i64 pieces = plan.pieces.count();
  const Scratch<Moments> moments(static_cast<std::size_t>(pieces * channels));
  const Scratch<T> numbers(static_cast<std::size_t>((pieces + 2) * channels));
  T *const scale = f.save_affine ? f.save_affine : numbers.data(), *const bias = scale + channels;
  T* const means = numbers.data() + 2 * channels;
  const auto gather = [&](Range group, Range items, i64 piece) {
    if (f.training) {
      k.batch_norm_moments(f.shape, f.x, group, items, means + piece * channels, moments.data() + piece * channels);
    }
  };
  const auto finish = [&](Range group) {
    for (i64 c = group.begin; c < group.end; ++c) {
      Moments m{0, 0, 0};
      if (f.training) {
        for (i64 piece = 0; piece < pieces; ++piece) m = merge(m, moments.data()[piece * channels + c]);
      } else {
        m = {1, f.running_mean[c], f.running_var[c]};
      }
      finish_forward(f, c, m, scale, bias);
    }
  };
  run_channels(plan, channels, gather, finish, [&](Range group, Range items) {
    k.batch_norm_apply(f.shape, f.x, group, items, f.save_mean, scale, bias, f.add, f.rectifier, f.y,
                       f.x != f.y && f.add != f.y && past_caches<T>(channels * plan.items));
  });
}

template <class T>
void batch_norm_backward(const BatchNormBackward<T>& b) {
  const i64 channels = b.shape.c;
  const Verbose<T> line("batch_norm_backward", b.training ? "training" : "evaluation",
                        [&] { return sizes_text({b.shape.n, channels, b.shape.s}); });
  const Kernels<T>& k = kernels_of<T>();
  const ChannelPlan plan(b.shape, 1);
  const i64 pieces = plan.pieces.count();
  const bool summed = b.training || b.dweight || b.dbias;
  const Scratch<BatchNormSums> sums(static_cast<std::size_t>(pieces * channels));
  const Scratch<T> numbers(static_cast<std::size_t>(3 * channels));
  T *const shift = numbers.data(), *const slope = shift + channels, *const scale = slope + channels;
  const BatchNormMask<T> mask{b.affine, b.affine ? b.affine + channels : nullptr, b.y, b.dadd, b.rectifier};
  const auto gather = [&](Range group, Range items, i64 piece) {
    if (summed) k.batch_norm_sums(b.shape, b.dy, b.x, mask, group, items, b.save_mean, sums.data() + piece * channels);
  };
  const auto finish = [&](Range group) {
    for (i64 c = group.begin; c < group.end; ++c) {
      BatchNormSums total{0, 0};
      for (i64 piece = 0; summed && piece < pieces; ++piece) {
        total.dy += sums.data()[piece * channels + c].dy;
        total.dy_x += sums.data()[piece * channels + c].dy_x;
      }
      finish_backward(b, c, static_cast<double>(plan.items), total, shift, slope, scale);
    }
  };
  run_channels(plan, channels, gather, finish, [&](Range group, Range items) {
    if (!b.dx) return;
    k.batch_norm_gradient(b.shape, b.dy, b.training || b.affine ? b.x : nullptr, mask, group, items, b.save_mean,
                          nullptr, shift, slope, scale, b.dx,
                          b.dx != b.dy && b.dx != b.x && past_caches<T>(channels * plan.items));
  });
}

template void batch_norm_forward<float>(const BatchNormForward<float>&);
template void batch_norm_forward<double>(const BatchNormForward<double>&);
template void batch_norm_backward<float>(const BatchNormBackward<float>&);
template void batch_norm_backward<double>(const BatchNormBackward<double>&);

}  // namespace jadro
