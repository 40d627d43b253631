// Convolution: an implicit matrix product on the tile of multiply.h, and for groups of few channels a direct sum.
// Gradients are the same passes: that of the data one for each phase of the stride, that of the weights one whose depth
// runs over the cells.
#include "cuda/conv2d.h"
#include "cuda/conv2d_pass.h"
#include "cuda/multiply.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

// Where results go: the epilogue, then dst[n, groups*out, h, w].
template <class T>
struct Stored {
  Conv2dPass pass;
  T* data;
  Conv2dEpilogue<T> then;
  i64 channel = 0;

  __device__ void select(i64 group) { channel = group * pass.out; }
  __device__ i64 place(i64 column) const {
    const Conv2dCell c = cell_of(pass, column);
    const i64 row = c.i * pass.h.dst_step + pass.h.dst_first, pixel = c.j * pass.w.dst_step + pass.w.dst_first;
    return (c.n * pass.groups * pass.out * pass.h.destination + row) * pass.w.destination + pixel;
  }
  __device__ void put(i64 place, i64 row, T value) const {
    const i64 o = channel + row, at = place + o * pass.h.destination * pass.w.destination;
    if (then.scale) value *= then.scale[o];
    if (then.bias) value += then.bias[o];
    if (then.add) value += then.add[at];
    data[at] = then.relu && value <= T(0) ? T(0) : value;
  }
};

// dw[groups,out,in*taps]
template <class T>
struct StoredWeights {
  T* data;
  i64 out, row_size;

  __device__ void select(i64 group) { data += group * out * row_size; }
  __device__ i64 place(i64 column) const { return column; }
  __device__ void put(i64 column, i64 row, T value) const { data[row * row_size + column] = value; }
};

// A thread sums one result: of channel blockIdx.y, blockIdx.y + gridDim.y, ...
template <class T>
__global__ void direct_kernel(Conv2dPass p, Conv2dColumns<T> x, Conv2dFilters<T> w, Stored<T> y, i64 cells) {
  const i64 cell = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (cell >= cells) return;
  const Conv2dOffset begin = x.place(cell);
  for (i64 channel = blockIdx.y; channel < p.groups * p.out; channel += gridDim.y) {
    const i64 group = channel / p.out, out = channel % p.out;
    const T* const source = x.data + begin.plane + group * p.in * p.h.source * p.w.source;
    const T* const filter = w.data + group * p.w_group + out * p.w_out;
    T sum = 0;
    for (i64 c = 0; c < p.in; ++c) {
      for (int th = 0; th < p.h.taps; ++th) {
        const int h = begin.h + p.h.first + th * p.h.apart;
        if (h < 0 || h >= p.h.source) continue;
        const T* const row = source + (c * p.h.source + h) * p.w.source;
        const T* const taps = filter + c * p.w_in + static_cast<i64>(p.h.w_first + th * p.h.w_step) * p.w_row;
        for (int tw = 0; tw < p.w.taps; ++tw) {
          const int pixel = begin.w + p.w.first + tw * p.w.apart;
          if (pixel >= 0 && pixel < p.w.source) sum += row[pixel] * taps[p.w.w_first + tw * p.w.w_step];
        }
      }
    }
    Stored<T> result = y;
    result.select(group);
    result.put(result.place(cell), out, sum);
  }
}

// A block sums one element of dw, over all cells.
template <class T>
__global__ void direct_weight_kernel(Conv2dPass p, Conv2dTransposedColumns<T> x, Conv2dResults<T> dy, T* dw, i64 cells,
                                     i64 row_size) {
  const i64 element = blockIdx.x, channel = element / row_size, group = channel / p.out;
  x.select(group);
  dy.select(group);
  const Conv2dOffset tap = x.place(element % row_size);
  const i64 row = dy.place(channel % p.out);
  T sum = 0;
  for (i64 cell = threadIdx.x; cell < cells; cell += kThreads)
    sum += dy.at(row, dy.step(cell)) * x.at(tap, x.step(cell));
  sum = group_reduce<kThreads>(sum, Add{}, dynamic_shared<T>());
  if (threadIdx.x == 0) dw[element] = sum;
}

// A block sums one channel of dy[n,oc,size].
template <class T>
__global__ void bias_kernel(const T* dy, i64 n, i64 oc, i64 size, T* db) {
  T sum = 0;
  for (i64 image = 0; image < n; ++image) {
    const T* const plane = dy + (image * oc + blockIdx.x) * size;
    for (i64 i = threadIdx.x; i < size; i += kThreads) sum += plane[i];
  }
  sum = group_reduce<kThreads>(sum, Add{}, dynamic_shared<T>());
  if (threadIdx.x == 0) db[blockIdx.x] = sum;
}

constexpr i64 kFewChannels = 4;  // of a group: too few for a tile

bool has_few_channels(const Conv2d& s) { return s.ic / s.groups <= kFewChannels && s.oc / s.groups <= kFewChannels; }

bool is_direct(const Conv2d& s, Conv2dAlgorithm algorithm) {
  return algorithm == Conv2dAlgorithm::kAuto ? has_few_channels(s) : algorithm == Conv2dAlgorithm::kDirect;
}

// The gradient of the weights has a direct form for few channels only, as on the CPU.
bool weight_is_direct(const Conv2d& s, Conv2dAlgorithm algorithm) {
  return has_few_channels(s) && algorithm != Conv2dAlgorithm::kIm2col;
}

int narrow(i64 size) { return static_cast<int>(size); }

// y from x; also the pass behind the gradient of the weights.
Conv2dPass forward_pass(const Conv2d& s) {
  Conv2dPass p{};
  p.n = s.n, p.groups = s.groups, p.in = s.ic / s.groups, p.out = s.oc / s.groups;
  p.h = {narrow(s.ih),
         narrow(s.oh),
         narrow(s.stride_h),
         narrow(s.kh),
         narrow(-s.pad_top),
         narrow(s.dilation_h),
         narrow(s.oh),
         1,
         0,
         0,
         1};
  p.w = {narrow(s.iw),
         narrow(s.ow),
         narrow(s.stride_w),
         narrow(s.kw),
         narrow(-s.pad_left),
         narrow(s.dilation_w),
         narrow(s.ow),
         1,
         0,
         0,
         1};
  p.w_in = s.kh * s.kw, p.w_out = p.in * p.w_in, p.w_row = narrow(s.kw), p.w_group = p.out * p.w_out;
  p.set_dividers();
  return p;
}

// Rows first, first + stride, ... of dx meet the taps k with (row + pad - k dilation) divisible by the stride: every
// stride / gcd-th one from the first such, if there is one. Row i of the phase and tap t meet dy at i + t apart +
// first.
Conv2dAxis data_axis(i64 size, i64 results, i64 kernel, i64 stride, i64 pad, i64 dilation, i64 phase) {
  i64 tap = 0;
  while (tap < kernel && (phase + pad - tap * dilation) % stride != 0) ++tap;
  i64 apart = 1;  // the next tap that fits
  while (apart * dilation % stride != 0) ++apart;
  const i64 taps = tap < kernel ? (kernel - tap + apart - 1) / apart : 0;
  const i64 first = taps > 0 ? (phase + pad - tap * dilation) / stride : 0;
  return {narrow(results),
          narrow(ceil_div(size - phase, stride)),
          1,
          narrow(taps),
          narrow(first),
          narrow(-apart * dilation / stride),
          narrow(size),
          narrow(stride),
          narrow(phase),
          narrow(tap),
          narrow(apart)};
}

// dx from dy, the rows and columns of one phase of the stride.
Conv2dPass data_pass(const Conv2d& s, const Conv2dAxis& h, const Conv2dAxis& w) {
  Conv2dPass p{};
  p.n = s.n, p.groups = s.groups, p.in = s.oc / s.groups, p.out = s.ic / s.groups;
  p.h = h, p.w = w;
  p.w_out = s.kh * s.kw, p.w_in = p.out * p.w_out, p.w_row = narrow(s.kw), p.w_group = p.in * p.w_in;
  p.set_dividers();
  return p;
}

template <class T>
cudaError_t run_pass(const Conv2dPass& p, const T* src, const T* w, T* dst, const Conv2dEpilogue<T>& then, bool direct,
                     cudaStream_t stream) {
  const Conv2dColumns<T> columns{{p, src}};
  const Conv2dFilters<T> filters{p, w};
  const Stored<T> stored{p, dst, then};
  if (p.cells() == 0) return cudaSuccess;
  if (!direct) {
    return multiply<T>(product_of(p.out, p.cells(), p.depth(), p.groups, false), filters, columns, stored, nullptr,
                       stream);
  }
  const Grid grid = grid_over(p.groups * p.out, p.cells());
  return launch(direct_kernel<T>, grid.blocks, grid.threads, 0, stream, p, columns, filters, stored, p.cells());
}

Product weight_product(const Conv2d& s) {
  return product_of(s.oc / s.groups, s.ic / s.groups * s.kh * s.kw, s.n * s.oh * s.ow, s.groups, true);
}

}  // namespace

bool conv2d_fits(const Conv2d& s) {
  const auto product_fits = [](std::initializer_list<i64> sizes) {
    i64 product = 1;
    for (i64 size : sizes) {
      if (size > INT32_MAX) return false;
      if (size > 0 && product > INT32_MAX / size) return false;
      product *= size > 0 ? size : 1;
    }
    return true;
  };
  constexpr i64 kMost = 1 << 28;  // a sum of a few of these has 31 bits
  const i64 reach_h = (s.oh - 1) * s.stride_h + s.kh * s.dilation_h,
            reach_w = (s.ow - 1) * s.stride_w + s.kw * s.dilation_w;
  return product_fits({s.n, s.oh, s.ow}) && product_fits({s.n, s.ih, s.iw}) && product_fits({s.oc, s.kh, s.kw}) &&
         product_fits({s.ic, s.kh, s.kw}) && product_fits({s.oc, s.ic / s.groups, s.kh, s.kw}) && reach_h < kMost &&
         reach_w < kMost && s.stride_h < kMost && s.stride_w < kMost && s.dilation_h < kMost && s.dilation_w < kMost &&
         s.pad_top < kMost && s.pad_left < kMost;
}

template <class T>
i64 conv2d_weight_scratch(const Conv2d& s, Conv2dAlgorithm algorithm) {
  return weight_is_direct(s, algorithm) ? 0 : product_scratch<T>(weight_product(s));
}

template <class T>
cudaError_t conv2d_forward(const Conv2d& s, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm, cudaStream_t stream) {
  return run_pass(forward_pass(s), x, w, y, epilogue, is_direct(s, algorithm), stream);
}

template <class T>
cudaError_t conv2d_backward_data(const Conv2d& s, const T* dy, const T* w, T* dx, Conv2dAlgorithm algorithm,
                                 cudaStream_t stream) {
  const i64 size = s.n * s.ic * s.ih * s.iw;
  if (size == 0) return cudaSuccess;
  // A stride beyond the kernel leaves rows or columns that no tap reaches: they are 0, and not looked at.
  const i64 phases_h = s.stride_h < s.ih ? s.stride_h : s.ih, phases_w = s.stride_w < s.iw ? s.stride_w : s.iw;
  if (phases_h > s.kh || phases_w > s.kw) {
    const cudaError_t error = cudaMemsetAsync(dx, 0, static_cast<std::size_t>(size) * sizeof(T), stream);
    if (error != cudaSuccess) return error;
  }
  for (i64 a = 0; a < phases_h; ++a) {
    const Conv2dAxis h = data_axis(s.ih, s.oh, s.kh, s.stride_h, s.pad_top, s.dilation_h, a);
    if (h.taps == 0 && phases_h > s.kh) continue;
    for (i64 b = 0; b < phases_w; ++b) {
      const Conv2dAxis v = data_axis(s.iw, s.ow, s.kw, s.stride_w, s.pad_left, s.dilation_w, b);
      if (v.taps == 0 && phases_w > s.kw) continue;
      const cudaError_t error =
          run_pass(data_pass(s, h, v), dy, w, dx, Conv2dEpilogue<T>{}, is_direct(s, algorithm), stream);
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

template <class T>
cudaError_t conv2d_backward_weight(const Conv2d& s, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm,
                                   void* scratch, cudaStream_t stream) {
  const Conv2dPass p = forward_pass(s);
  const Conv2dTransposedColumns<T> columns{{p, x}};
  const Conv2dResults<T> results{p, dy};
  const i64 row_size = p.depth();
  constexpr std::size_t kShared = kThreads / 32 * sizeof(T);
  cudaError_t error;
  if (weight_is_direct(s, algorithm)) {
    error = launch(direct_weight_kernel<T>, dim3(static_cast<unsigned>(s.oc * row_size)), dim3(kThreads), kShared,
                   stream, p, columns, results, dw, p.cells(), row_size);
  } else {
    error = multiply<T>(weight_product(s), results, columns, StoredWeights<T>{dw, p.out, row_size}, scratch, stream);
  }
  if (error != cudaSuccess || !db) return error;
  return launch(bias_kernel<T>, dim3(static_cast<unsigned>(s.oc)), dim3(kThreads), kShared, stream, dy, s.n, s.oc,
                s.oh * s.ow, db);
}

template i64 conv2d_weight_scratch<float>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_weight_scratch<double>(const Conv2d&, Conv2dAlgorithm);
template cudaError_t conv2d_forward(const Conv2d&, const float*, const float*, float*, const Conv2dEpilogue<float>&,
                                    Conv2dAlgorithm, cudaStream_t);
template cudaError_t conv2d_forward(const Conv2d&, const double*, const double*, double*, const Conv2dEpilogue<double>&,
                                    Conv2dAlgorithm, cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const float*, const float*, float*, Conv2dAlgorithm,
                                          cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const double*, const double*, double*, Conv2dAlgorithm,
                                          cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const float*, const float*, float*, float*, Conv2dAlgorithm,
                                            void*, cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const double*, const double*, double*, double*,
                                            Conv2dAlgorithm, void*, cudaStream_t);

}  // namespace jadro::cuda
