// Batch normalisation in three kernels: the sums of each channel by pieces, what follows from them for the channel, and
// one pass over x. Sums are double, cut by the shape alone and added up in a fixed order.
#include <cmath>

#include "cuda/batch_norm.h"
#include "cuda/channels.h"
#include "cuda/divide.h"
#include "cuda/map.h"
#include "cuda/rectifier.h"

namespace jadro::cuda {
namespace {

// Numbers of a channel that a pass over x reads; [c] each.
template <class T>
struct Numbers {
  T *shift, *slope, *scale;
};

// Scratch memory: sums[pieces,c], then the numbers.
template <class T>
Numbers<T> numbers_in(void* scratch, const ChannelPlan& plan, i64 c) {
  T* const numbers = reinterpret_cast<T*>(static_cast<Moments*>(scratch) + plan.pieces * c);
  return {numbers, numbers + c, numbers + 2 * c};
}

// out[piece,c]: a thread sums distances from the first number that it meets, and their squares.
// x[n,c,s] comes in runs of kRun numbers, which begin on packs or may.
template <class T, int kRun>
__global__ void moments_kernel(ChannelShape b, int lanes, const T* x, bool packed, Moments* out) {
  const Place p = place_of(b, lanes);
  Moments mine{0, 0, 0};
  double first = 0, sum = 0, squares = 0;
  if (p.c < b.c) {
    for_items(b, p.c, p.item, p.end, p.step, [&](i64 at, i64) {
      Pack<T> pack{};
      if constexpr (kRun == 1) {
        pack.v[0] = x[at];
      } else {
        pack = load_pack(x + at * kRun, packed);
      }
      if (mine.count == 0) first = number(pack.v[0]);
      mine.count += kRun;
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        const double d = number(pack.v[i]) - first;
        sum += d;
        squares += d * d;
      }
    });
  }
  if (mine.count > 0) {
    mine.mean = first + sum / mine.count;
    mine.squares = squares - sum * (sum / mine.count);
  }
  join_block(mine, lanes, p.c, b.c, out, [](const Moments& l, const Moments& r) { return merge(l, r); });
}

template <class T>
__global__ void finish_forward_kernel(BatchNormForward<T> f, i64 pieces, const Moments* sums, Sum<T>* scale,
                                      Sum<T>* bias) {
  using S = Sum<T>;
  const i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= f.shape.c) return;
  Moments m{0, 0, 0};
  if (f.training) {
    for (i64 piece = 0; piece < pieces; ++piece) m = merge(m, sums[piece * f.shape.c + c]);
  } else {
    m = {1, static_cast<double>(number(f.running_mean[c])), static_cast<double>(number(f.running_var[c]))};
  }
  const double rstd = 1 / std::sqrt((m.squares > 0 ? m.squares : 0 * m.squares) / m.count + f.eps);
  f.save_mean[c] = static_cast<S>(m.mean);
  f.save_rstd[c] = static_cast<S>(rstd);
  scale[c] = static_cast<S>(f.weight ? rstd * number(f.weight[c]) : rstd);
  // What the rounding of the mean took away goes into the bias.
  bias[c] = static_cast<S>((f.bias ? number(f.bias[c]) : 0.0) - (m.mean - f.save_mean[c]) * scale[c]);
  if (!f.training || m.count == 0) return;
  const auto move = [&](T* running, double value) {
    if (!running) return;
    const double old = number(running[c]);
    running[c] = static_cast<T>(static_cast<S>(old + f.momentum * (value - old)));
  };
  move(f.running_mean, m.mean);
  move(f.running_var, m.squares / (m.count - 1));
}

// Passes over all elements, kPack neighbours of one channel at a time: f(channel, offset of the first).
template <int kPack, class F>
__device__ void for_elements(const ChannelShape& b, const Divider& by_s, const Divider& by_c, F f) {
  const i64 runs = b.n * b.c * b.s / kPack, step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < runs; i += step) {
    const i64 at = i * kPack;
    if (b.n * b.c * b.s <= INT32_MAX) {
      const u32 plane = by_s.divide(static_cast<u32>(at));
      f(static_cast<i64>(plane - by_c.divide(plane) * by_c.divisor), at);
    } else {
      f(at / b.s % b.c, at);
    }
  }
}

template <class T, int kPack>
struct alignas(kPack * sizeof(T)) Run {
  T v[kPack];
};
template <int kPack, class T>
__device__ Run<T, kPack> load_run(const T* p) {
  return *reinterpret_cast<const Run<T, kPack>*>(p);
}
template <int kPack, class T>
__device__ void store_run(T* p, const Run<T, kPack>& run) {
  *reinterpret_cast<Run<T, kPack>*>(p) = run;
}

// y = (x - mean) scale + bias + add, rectified
template <class T, int kPack>
__global__ void apply_kernel(BatchNormForward<T> f, const Sum<T>* scale, const Sum<T>* bias, Divider by_s,
                             Divider by_c) {
  for_elements<kPack>(f.shape, by_s, by_c, [&](i64 c, i64 at) {
    const Sum<T> m = f.save_mean[c], a = scale[c], b = bias[c];
    Run<T, kPack> v = load_run<kPack>(f.x + at), add{};
    if (f.add) add = load_run<kPack>(f.add + at);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      Sum<T> value = (number(v.v[i]) - m) * a + b;
      if (f.add) value += number(add.v[i]);
      v.v[i] = static_cast<T>(rectified(f.rectifier, c, value));
    }
    store_run<kPack>(f.y + at, v);
  });
}

// What of dy the rectifier behind lets pass; d = x - mean.
template <class T>
__device__ Sum<T> passed(const BatchNormBackward<T>& b, i64 c, Sum<T> dy, Sum<T> d, Sum<T> y) {
  if (!b.affine) return dy;
  const Sum<T> v = b.y ? y : d * b.affine[c] + b.affine[b.shape.c + c];
  return rectified_gradient(b.rectifier, c, v, dy);
}

template <class T>
__global__ void sums_kernel(BatchNormBackward<T> b, int lanes, BatchNormSums* out) {
  const Place p = place_of(b.shape, lanes);
  BatchNormSums mine{0, 0};
  if (p.c < b.shape.c) {
    const Sum<T> mean = b.save_mean[p.c];
    for_items(b.shape, p.c, p.item, p.end, p.step, [&](i64 at, i64) {
      const Sum<T> d = number(b.x[at]) - mean;
      const Sum<T> g = passed(b, p.c, number(b.dy[at]), d, b.y ? number(b.y[at]) : Sum<T>(0));
      mine.dy += g;
      mine.dy_x += static_cast<double>(g) * d;
    });
  }
  join_block(mine, lanes, p.c, b.shape.c, out, [](const BatchNormSums& l, const BatchNormSums& r) {
    return BatchNormSums{l.dy + r.dy, l.dy_x + r.dy_x};
  });
}

// The gradients of weight and bias, and the numbers of dx = (dy - shift - (x - mean) slope) scale.
template <class T>
__global__ void finish_backward_kernel(BatchNormBackward<T> b, i64 pieces, const BatchNormSums* sums,
                                       Numbers<Sum<T>> out) {
  using S = Sum<T>;
  const i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= b.shape.c) return;
  BatchNormSums total{0, 0};
  for (i64 piece = 0; piece < pieces; ++piece) {
    total.dy += sums[piece * b.shape.c + c].dy;
    total.dy_x += sums[piece * b.shape.c + c].dy_x;
  }
  const double rstd = b.save_rstd[c], count = static_cast<double>(b.shape.n * b.shape.s);
  if (b.dweight) b.dweight[c] = static_cast<T>(static_cast<S>(total.dy_x * rstd));
  if (b.dbias) b.dbias[c] = static_cast<T>(static_cast<S>(total.dy));
  out.shift[c] = static_cast<S>(b.training ? total.dy / count : 0);
  out.slope[c] = static_cast<S>(b.training ? total.dy_x * rstd * rstd / count : 0);
  out.scale[c] = static_cast<S>(b.weight ? rstd * number(b.weight[c]) : rstd);
}

template <class T, int kPack>
__global__ void gradient_kernel(BatchNormBackward<T> b, Numbers<Sum<T>> numbers, Divider by_s, Divider by_c) {
  for_elements<kPack>(b.shape, by_s, by_c, [&](i64 c, i64 at) {
    const Sum<T> mean = b.save_mean[c], shift = numbers.shift[c], slope = numbers.slope[c], scale = numbers.scale[c];
    const Run<T, kPack> x = load_run<kPack>(b.x + at), dy = load_run<kPack>(b.dy + at);
    Run<T, kPack> y{}, dx, dadd;
    if (b.y) y = load_run<kPack>(b.y + at);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const Sum<T> d = number(x.v[i]) - mean, g = passed(b, c, number(dy.v[i]), d, number(y.v[i]));
      dadd.v[i] = static_cast<T>(g);
      dx.v[i] = static_cast<T>((g - shift - d * slope) * scale);
    }
    store_run<kPack>(b.dx + at, dx);
    if (b.dadd) store_run<kPack>(b.dadd + at, dadd);
  });
}

// Whether a pass may take 16 bytes at a time: planes are whole packs, and all arrays lie on such addresses.
template <class T>
bool in_packs(const ChannelShape& b, std::initializer_list<const T*> arrays) {
  bool fits = b.s % Pack<T>::kSize == 0;
  for (const T* a : arrays) fits = fits && on_packs(a);
  return fits;
}

template <class Kernel, class... Arguments>
cudaError_t pass(const ChannelShape& b, int pack, cudaStream_t stream, Kernel kernel, Arguments... arguments) {
  return launch(kernel, dim3(blocks_for(b.n * b.c * b.s / pack)), dim3(kThreads), 0, stream, arguments..., Divider(b.s),
                Divider(b.c));
}

unsigned blocks_of_channels(i64 c) { return static_cast<unsigned>(ceil_div(c, kThreads)); }

}  // namespace

i64 batch_norm_scratch(const ChannelShape& shape) {
  const i64 numbers = 3 * shape.c * static_cast<i64>(sizeof(double));
  return ChannelPlan(shape).pieces * shape.c * static_cast<i64>(sizeof(Moments)) + numbers;
}

template <class T>
cudaError_t batch_norm_forward(const BatchNormForward<T>& f, void* scratch, cudaStream_t stream) {
  const ChannelShape& b = f.shape;
  if (b.c == 0) return cudaSuccess;
  const ChannelPlan plan(b);
  Moments* const sums = static_cast<Moments*>(scratch);
  const Numbers<Sum<T>> numbers = numbers_in<Sum<T>>(scratch, plan, b.c);
  Sum<T>*const scale = f.save_affine ? f.save_affine : numbers.shift, *const bias = scale + b.c;
  cudaError_t error = cudaSuccess;
  constexpr int kPack = Pack<T>::kSize;
  if (f.training) {
    const bool in_runs = b.s % kPack == 0 && b.s > kPack;
    const ChannelShape runs{b.n, b.c, in_runs ? b.s / kPack : b.s};
    error = gather<Moments>(plan, stream, in_runs ? moments_kernel<T, kPack> : moments_kernel<T, 1>, runs, plan.lanes,
                            f.x, on_packs(f.x), sums);
  }
  if (error != cudaSuccess) return error;
  error = launch(finish_forward_kernel<T>, dim3(blocks_of_channels(b.c)), dim3(kThreads), 0, stream, f, plan.pieces,
                 sums, scale, bias);
  if (error != cudaSuccess || plan.items == 0) return error;
  if (in_packs<T>(b, {f.x, f.y, f.add})) return pass(b, kPack, stream, apply_kernel<T, kPack>, f, scale, bias);
  return pass(b, 1, stream, apply_kernel<T, 1>, f, scale, bias);
}

template <class T>
cudaError_t batch_norm_backward(const BatchNormBackward<T>& b, void* scratch, cudaStream_t stream) {
  if (b.shape.c == 0) return cudaSuccess;
  const ChannelPlan plan(b.shape);
  BatchNormSums* const sums = static_cast<BatchNormSums*>(scratch);
  const Numbers<Sum<T>> numbers = numbers_in<Sum<T>>(scratch, plan, b.shape.c);
  const bool summed = b.training || b.dweight || b.dbias;
  cudaError_t error = cudaSuccess;
  if (summed) error = gather<BatchNormSums>(plan, stream, sums_kernel<T>, b, plan.lanes, sums);
  if (error != cudaSuccess) return error;
  error = launch(finish_backward_kernel<T>, dim3(blocks_of_channels(b.shape.c)), dim3(kThreads), 0, stream, b,
                 summed ? plan.pieces : 0, sums, numbers);
  if (error != cudaSuccess || plan.items == 0 || !b.dx) return error;
  constexpr int kPack = Pack<T>::kSize;
  if (in_packs<T>(b.shape, {b.x, b.dy, b.y, b.dx, b.dadd})) {
    return pass(b.shape, kPack, stream, gradient_kernel<T, kPack>, b, numbers);
  }
  return pass(b.shape, 1, stream, gradient_kernel<T, 1>, b, numbers);
}

template cudaError_t batch_norm_forward(const BatchNormForward<float>&, void*, cudaStream_t);
template cudaError_t batch_norm_forward(const BatchNormForward<double>&, void*, cudaStream_t);
template cudaError_t batch_norm_forward(const BatchNormForward<Half>&, void*, cudaStream_t);
template cudaError_t batch_norm_forward(const BatchNormForward<Bfloat16>&, void*, cudaStream_t);
template cudaError_t batch_norm_backward(const BatchNormBackward<float>&, void*, cudaStream_t);
template cudaError_t batch_norm_backward(const BatchNormBackward<double>&, void*, cudaStream_t);
template cudaError_t batch_norm_backward(const BatchNormBackward<Half>&, void*, cudaStream_t);
template cudaError_t batch_norm_backward(const BatchNormBackward<Bfloat16>&, void*, cudaStream_t);

}  // namespace jadro::cuda
