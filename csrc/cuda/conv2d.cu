// Convolution of images and volumes: an implicit matrix product, of copies with the channels last where that gains,
// else of the arrays as they are, and for groups of few channels a direct sum. Gradients are the same passes: that of
// the data one for each phase of the stride, that of the weights one whose depth runs over the cells.
#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "cuda/conv2d.h"
#include "cuda/conv2d_depthwise.h"
#include "cuda/conv2d_direct.h"
#include "cuda/conv2d_narrow.h"
#include "cuda/conv2d_pieces.h"
#include "cuda/reduce.h"

namespace jadro::cuda {
namespace {

// f(place of the padded axis, from its begin) for the places that show cell `at`, in their order.
template <class F>
__device__ void for_shown(PaddingMode mode, const Conv2dAxis& a, i64 at, F f) {
  for (i64 i = -a.before; i < 0; ++i) {
    if (source_cell(mode, i, a.in) == at) f(i + a.before);
  }
  f(at + a.before);
  for (i64 i = a.in; i < a.in + a.after; ++i) {
    if (source_cell(mode, i, a.in) == at) f(i + a.before);
  }
}

// dx[planes, cells] from the gradients of all places of the padded planes.
template <class T>
__global__ void fold_kernel(Conv2d s, const T* padded, T* dx) {
  const i64 size = s.n * s.ic * s.d.in * s.h.in * s.w.in, step = static_cast<i64>(gridDim.x) * blockDim.x;
  const i64 rows = s.h.in + s.h.before + s.h.after, columns = s.w.in + s.w.before + s.w.after;
  const i64 plane_size = (s.d.in + s.d.before + s.d.after) * rows * columns;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    const i64 w = i % s.w.in, h = i / s.w.in % s.h.in, d = i / s.w.in / s.h.in % s.d.in;
    const T* const plane = padded + i / (s.d.in * s.h.in * s.w.in) * plane_size;
    Sum<T> sum = 0;
    for_shown(s.padding_mode, s.d, d, [&](i64 pd) {
      for_shown(s.padding_mode, s.h, h, [&](i64 ph) {
        for_shown(s.padding_mode, s.w, w,
                  [&](i64 pw) { sum += static_cast<Sum<T>>(plane[(pd * rows + ph) * columns + pw]); });
      });
    });
    dx[i] = static_cast<T>(sum);
  }
}

constexpr i64 kFewChannels = 4;  // of a group: too few for a tile

bool has_few_channels(const Conv2d& s) { return s.ic / s.groups <= kFewChannels && s.oc / s.groups <= kFewChannels; }

// A product of single elements, which 16-bit floats do not have.
template <class T, class A, class B, class C>
cudaError_t multiply_elements(const Product& p, const A& a, const B& b, const C& c, void* scratch,
                              cudaStream_t stream) {
  if constexpr (sizeof(T) > 2) return multiply_exactly<T>(p, a, b, c, scratch, stream);
  return cudaErrorInvalidValue;
}
template <class T>
bool has_product(const Conv2d& s) {
  return sizeof(T) > 2 || pieces_fit<T>(s);
}

// How the passes of a problem are computed.
enum class Way { kProduct, kDirect, kNarrow };

// Passes from groups of `in` to groups of `out` channels.
template <class T>
Way way_of(const Conv2d& s, Conv2dAlgorithm algorithm, i64 taps, i64 in, i64 out, i64 cells) {
  if (algorithm == Conv2dAlgorithm::kDirect || !has_product<T>(s)) return Way::kDirect;
  if (algorithm == Conv2dAlgorithm::kIm2col) return Way::kProduct;
  if (has_few_channels(s)) return Way::kDirect;
  return is_narrow<T>(taps, in, out, cells, s.groups) ? Way::kNarrow : Way::kProduct;
}

template <class T>
Way forward_way(const Conv2d& s, Conv2dAlgorithm algorithm) {
  const i64 cells = s.padding_mode == PaddingMode::kZeros ? s.n * y_pixels(s) : 0;
  return way_of<T>(s, algorithm, taps_of(s), s.ic / s.groups, s.oc / s.groups, cells);
}

// By the most taps, and the cells, of a phase of the stride.
template <class T>
Way data_way(const Conv2d& s, Conv2dAlgorithm algorithm) {
  i64 taps = 1, cells = s.n;
  for (const Conv2dAxis& a : {s.d, s.h, s.w}) {
    taps *= ceil_div(a.kernel, a.stride / std::gcd(a.stride, a.dilation));
    cells *= ceil_div(a.in, a.stride);
  }
  return way_of<T>(s, algorithm, taps, s.oc / s.groups, s.ic / s.groups, cells);
}

// The gradient of the weights has a direct form for few channels only.
template <class T>
bool weight_is_direct(const Conv2d& s, Conv2dAlgorithm algorithm) {
  return (has_few_channels(s) && algorithm != Conv2dAlgorithm::kIm2col) || !has_product<T>(s);
}

int narrow(i64 size) { return static_cast<int>(size); }

// Whether the products read copies with the channels last; scratch memory is there for them.
template <class T>
bool takes_pieces(const Conv2d& s, Way way) {
  return way == Way::kProduct && sizeof(T) <= 4 && pieces_fit<T>(s);
}

PassAxis forward_axis(const Conv2dAxis& a) {
  return {narrow(a.in),
          narrow(a.out),
          narrow(a.stride),
          narrow(a.kernel),
          narrow(-a.before),
          narrow(a.dilation),
          narrow(a.out),
          1,
          0,
          narrow(a.kernel),
          0,
          1};
}

// y from x; also the pass behind the gradient of the weights.
Conv2dPass forward_pass(const Conv2d& s) {
  Conv2dPass p{};
  p.n = s.n, p.groups = s.groups, p.in = s.ic / s.groups, p.out = s.oc / s.groups;
  p.d = forward_axis(s.d), p.h = forward_axis(s.h), p.w = forward_axis(s.w);
  p.w_in = taps_of(s), p.w_out = p.in * p.w_in, p.w_group = p.out * p.w_out;
  p.mode = s.padding_mode;
  p.set_dividers();
  return p;
}

// Places phase, phase + stride, ... of dx meet the taps k with (place + before - k dilation) divisible by the stride:
// every stride / gcd-th one from the first such, if there is one. Cell i of the phase and tap t meet dy at i + t apart
// + first.
PassAxis data_axis(const Conv2dAxis& a, i64 phase) {
  i64 tap = 0;
  while (tap < a.kernel && (phase + a.before - tap * a.dilation) % a.stride != 0) ++tap;
  const i64 apart = a.stride / std::gcd(a.stride, a.dilation);  // to the next tap that fits
  const i64 taps = tap < a.kernel ? ceil_div(a.kernel - tap, apart) : 0;
  const i64 first = taps > 0 ? (phase + a.before - tap * a.dilation) / a.stride : 0;
  return {narrow(a.out),
          narrow(ceil_div(a.in - phase, a.stride)),
          1,
          narrow(taps),
          narrow(first),
          narrow(-apart * a.dilation / a.stride),
          narrow(a.in),
          narrow(a.stride),
          narrow(phase),
          narrow(a.kernel),
          narrow(tap),
          narrow(apart)};
}

// dx from dy, one phase of the stride.
Conv2dPass data_pass(const Conv2d& s, const PassAxis& d, const PassAxis& h, const PassAxis& w) {
  Conv2dPass p{};
  p.n = s.n, p.groups = s.groups, p.in = s.oc / s.groups, p.out = s.ic / s.groups;
  p.d = d, p.h = h, p.w = w;
  p.w_out = taps_of(s), p.w_in = p.out * p.w_out, p.w_group = p.in * p.w_in;
  p.mode = PaddingMode::kZeros;
  p.set_dividers();
  return p;
}

template <class T>
cudaError_t run_pass(const Conv2dPass& p, const T* src, const T* w, T* dst, const Conv2dEpilogue<T>& then, Way way,
                     const PassCopies<T>& copies, cudaStream_t stream) {
  const Conv2dColumns<T> columns{{p, src}};
  const Conv2dFilters<T> filters{p, w};
  const Stored<T> stored(p, dst, then);
  if (p.cells() == 0) return cudaSuccess;
  if constexpr (!std::is_same_v<T, double>) {
    if (copies.source) return run_pieces(p, w, stored, copies, stream);
  }
  if (way == Way::kNarrow) return run_narrow(columns, filters, stored, stream);
  if (way == Way::kProduct) {
    const Product product = product_of(p.out, p.cells(), p.depth(), p.groups, false);
    return multiply_elements<T>(product, filters, columns, stored, nullptr, stream);
  }
  if (is_depthwise(p)) return run_depthwise(p, src, w, stored, stream);
  const Grid grid = grid_over(p.groups * p.out, p.cells());
  return launch(direct_kernel<T, Stored<T>>, grid.blocks, grid.threads, 0, stream, p, columns, filters, stored,
                p.cells());
}

// The phases of an axis that some tap reaches.
std::vector<PassAxis> data_axes(const Conv2dAxis& a) {
  std::vector<PassAxis> axes;
  for (i64 phase = 0; phase < a.stride && phase < a.in; ++phase) {
    axes.push_back(data_axis(a, phase));
    if (axes.back().taps == 0) axes.pop_back();
  }
  return axes;
}

// All places of an axis, and no taps.
PassAxis all_places(const Conv2dAxis& a) {
  return {narrow(a.out), narrow(a.in), 1, 0, 0, 1, narrow(a.in), 1, 0, narrow(a.kernel), 0, 1};
}

// dx with zero padding, phase by phase of the stride; where some phase meets no tap, everything is first what nothing
// becomes.
template <class T>
cudaError_t data_gradient(const Conv2d& s, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue, Way way,
                          const PassCopies<T>& copies, cudaStream_t stream) {
  const std::vector<PassAxis> depths = data_axes(s.d), rows = data_axes(s.h), columns = data_axes(s.w);
  const auto all_met = [](const std::vector<PassAxis>& met, const Conv2dAxis& a) {
    return static_cast<i64>(met.size()) == (a.stride < a.in ? a.stride : a.in);
  };
  cudaError_t error = cudaSuccess;
  if (!all_met(depths, s.d) || !all_met(rows, s.h) || !all_met(columns, s.w)) {
    const Conv2dPass p = data_pass(s, all_places(s.d), all_places(s.h), all_places(s.w));
    error = run_pass(p, dy, w, dx, epilogue, way, copies, stream);
  }
  for (const PassAxis& d : depths) {
    for (const PassAxis& h : rows) {
      for (const PassAxis& v : columns) {
        if (error != cudaSuccess) return error;
        error = run_pass(data_pass(s, d, h, v), dy, w, dx, epilogue, way, copies, stream);
      }
    }
  }
  return error;
}

// Bytes of the filters of all phases, one after the other, with the channels last.
template <class T>
i64 filter_bytes(const Conv2d& s, i64 in, i64 out) {
  return taps_of(s) * s.groups * out * padded_channels<T>(in) * static_cast<i64>(sizeof(T));
}

// Copies a source [n, groups*in, pixels] into scratch memory, where the products gain by that.
template <class T>
cudaError_t copy_source(const Conv2d& s, const T* source, i64 in, i64 pixels, Way way, void* scratch,
                        PassCopies<T>& copies, cudaStream_t stream) {
  if (!takes_pieces<T>(s, way) || !gains_by_pieces<T>(in)) return cudaSuccess;
  copies.source = static_cast<T*>(scratch);
  copies.filters = copies.source + last_bytes<T>(s.n, s.groups, in, pixels) / static_cast<i64>(sizeof(T));
  return to_channels_last(source, copies.source, s.n, s.groups, in, pixels, stream);
}

// The convolution of the padded data: what folds back to dx.
Conv2d padded_shape(const Conv2d& s) {
  Conv2d padded = s;
  for (Conv2dAxis* a : {&padded.d, &padded.h, &padded.w}) a->in += a->before + a->after, a->before = a->after = 0;
  padded.padding_mode = PaddingMode::kZeros;
  return padded;
}

Product weight_product(const Conv2d& s) {
  return product_of(s.oc / s.groups, s.ic / s.groups * taps_of(s), s.n * s.d.out * s.h.out * s.w.out, s.groups, true);
}

bool product_fits(std::initializer_list<i64> sizes) {
  i64 product = 1;
  for (i64 size : sizes) {
    if (size > INT32_MAX || (size > 0 && product > INT32_MAX / size)) return false;
    product *= size > 0 ? size : 1;
  }
  return true;
}

}  // namespace

bool conv2d_fits(const Conv2d& s) {
  constexpr i64 kMost = 1 << 28;  // a sum of a few of these has 31 bits
  const auto axis_fits = [](const Conv2dAxis& a) {
    const i64 reach = a.in + (a.before > 0 ? a.before : 0) + (a.after > 0 ? a.after : 0);
    return reach < kMost && a.kernel * a.dilation < 2 * kMost && a.stride < kMost && a.before > -kMost &&
           a.after > -kMost;
  };
  return axis_fits(s.d) && axis_fits(s.h) && axis_fits(s.w) && product_fits({s.n, s.d.out, s.h.out, s.w.out}) &&
         product_fits({s.n, s.d.in, s.h.in, s.w.in}) &&
         product_fits({s.oc, s.ic / s.groups, s.d.kernel, s.h.kernel, s.w.kernel}) &&
         product_fits({s.ic, s.d.kernel, s.h.kernel, s.w.kernel});
}

template <class T>
i64 conv2d_forward_scratch(const Conv2d& s, Conv2dAlgorithm algorithm) {
  if (!takes_pieces<T>(s, forward_way<T>(s, algorithm))) return 0;
  return x_last_bytes<T>(s) + filter_bytes<T>(s, s.ic / s.groups, s.oc / s.groups);
}

template <class T>
i64 conv2d_data_scratch(const Conv2d& s, Conv2dAlgorithm algorithm) {
  i64 bytes = 0;
  if (s.padding_mode != PaddingMode::kZeros) {
    bytes += whole_packs(s.n * s.ic * x_pixels(padded_shape(s)) * static_cast<i64>(sizeof(T)));
  }
  if (!takes_pieces<T>(s, data_way<T>(s, algorithm))) return bytes;
  return bytes + y_last_bytes<T>(s) + filter_bytes<T>(s, s.oc / s.groups, s.ic / s.groups);
}

template <class T>
i64 conv2d_weight_scratch(const Conv2d& s, Conv2dAlgorithm algorithm) {
  const i64 bias = bias_scratch(s.n, s.oc, y_pixels(s)) * static_cast<i64>(sizeof(Sum<T>));
  if (weight_is_direct<T>(s, algorithm)) {
    return std::max(bias, depthwise_scratch(forward_pass(s)) * static_cast<i64>(sizeof(Sum<T>)));
  }
  const i64 bytes = std::max(bias, product_scratch<T>(weight_product(s)));
  return takes_pieces<T>(s, Way::kProduct) ? std::max(bytes, weight_pieces_bytes<T>(s)) : bytes;
}

template <class T>
cudaError_t conv2d_forward(const Conv2d& s, const T* x, const T* w, T* y, const Conv2dEpilogue<T>& epilogue,
                           Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream) {
  const Way way = forward_way<T>(s, algorithm);
  PassCopies<T> copies{};
  const cudaError_t error = copy_source(s, x, s.ic / s.groups, x_pixels(s), way, scratch, copies, stream);
  if (error != cudaSuccess) return error;
  return run_pass(forward_pass(s), x, w, y, epilogue, way, copies, stream);
}

template <class T>
cudaError_t conv2d_backward_data(const Conv2d& s, const T* dy, const T* w, T* dx, const Conv2dEpilogue<T>& epilogue,
                                 Conv2dAlgorithm algorithm, void* scratch, cudaStream_t stream) {
  const i64 size = s.n * s.ic * x_pixels(s);
  if (size == 0) return cudaSuccess;
  const Way way = data_way<T>(s, algorithm);
  const bool folded = s.padding_mode != PaddingMode::kZeros;
  const Conv2d padded = folded ? padded_shape(s) : s;
  const i64 padded_size = folded ? s.n * s.ic * x_pixels(padded) : 0;
  T* const to = folded ? static_cast<T*>(scratch) : dx;
  void* const rest = static_cast<char*>(scratch) + whole_packs(padded_size * static_cast<i64>(sizeof(T)));
  PassCopies<T> copies{};
  cudaError_t error = copy_source(s, dy, s.oc / s.groups, y_pixels(s), way, rest, copies, stream);
  if (error == cudaSuccess) error = data_gradient(padded, dy, w, to, epilogue, way, copies, stream);
  if (error != cudaSuccess || !folded) return error;
  return launch(fold_kernel<T>, dim3(blocks_for(size)), dim3(kThreads), 0, stream, s, static_cast<const T*>(to), dx);
}

template <class T>
cudaError_t weight_gradient(const Conv2d& s, const Conv2dPass& p, const T* dy, const T* x, T* dw, void* scratch,
                            cudaStream_t stream) {
  if constexpr (!std::is_same_v<T, double>) {
    if (takes_pieces<T>(s, Way::kProduct) && gains_by_pieces<T>(p.in)) {
      return run_weight_pieces(s, p, dy, x, dw, scratch, stream);
    }
  }
  return multiply_elements<T>(weight_product(s), Conv2dResults<T>{p, dy}, Conv2dTransposedColumns<T>{{p, x}},
                              StoredWeights<T>{dw, p.out, p.depth()}, scratch, stream);
}

template <class T>
cudaError_t conv2d_backward_weight(const Conv2d& s, const T* dy, const T* x, T* dw, T* db, Conv2dAlgorithm algorithm,
                                   void* scratch, cudaStream_t stream) {
  const Conv2dPass p = forward_pass(s);
  const i64 row_size = p.depth();
  constexpr std::size_t kShared = kThreads / 32 * sizeof(Sum<T>);
  cudaError_t error;
  if (weight_is_direct<T>(s, algorithm)) {
    Sum<T>* const sums = static_cast<Sum<T>*>(scratch);
    if (depthwise_scratch(p) > 0) return depthwise_weight_gradient(p, x, dy, dw, db, sums, stream);
    const Conv2dTransposedColumns<T> columns{{p, x}};
    const Conv2dResults<T> results{p, dy};
    error = launch(direct_weight_kernel<T>, dim3(static_cast<unsigned>(s.oc * row_size)), dim3(kThreads), kShared,
                   stream, p, columns, results, dw, p.cells(), row_size);
  } else {
    error = weight_gradient(s, p, dy, x, dw, scratch, stream);
  }
  if (error != cudaSuccess || !db) return error;
  return bias_gradient(s.n, s.oc, y_pixels(s), dy, db, static_cast<Sum<T>*>(scratch), stream);
}

template i64 conv2d_forward_scratch<float>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_data_scratch<float>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_weight_scratch<float>(const Conv2d&, Conv2dAlgorithm);
template cudaError_t conv2d_forward(const Conv2d&, const float*, const float*, float*, const Conv2dEpilogue<float>&,
                                    Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const float*, const float*, float*,
                                          const Conv2dEpilogue<float>&, Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const float*, const float*, float*, float*, Conv2dAlgorithm,
                                            void*, cudaStream_t);
template i64 conv2d_forward_scratch<double>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_data_scratch<double>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_weight_scratch<double>(const Conv2d&, Conv2dAlgorithm);
template cudaError_t conv2d_forward(const Conv2d&, const double*, const double*, double*, const Conv2dEpilogue<double>&,
                                    Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const double*, const double*, double*,
                                          const Conv2dEpilogue<double>&, Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const double*, const double*, double*, double*,
                                            Conv2dAlgorithm, void*, cudaStream_t);
template i64 conv2d_forward_scratch<Half>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_data_scratch<Half>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_weight_scratch<Half>(const Conv2d&, Conv2dAlgorithm);
template cudaError_t conv2d_forward(const Conv2d&, const Half*, const Half*, Half*, const Conv2dEpilogue<Half>&,
                                    Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const Half*, const Half*, Half*, const Conv2dEpilogue<Half>&,
                                          Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const Half*, const Half*, Half*, Half*, Conv2dAlgorithm,
                                            void*, cudaStream_t);
template i64 conv2d_forward_scratch<Bfloat16>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_data_scratch<Bfloat16>(const Conv2d&, Conv2dAlgorithm);
template i64 conv2d_weight_scratch<Bfloat16>(const Conv2d&, Conv2dAlgorithm);
template cudaError_t conv2d_forward(const Conv2d&, const Bfloat16*, const Bfloat16*, Bfloat16*,
                                    const Conv2dEpilogue<Bfloat16>&, Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_data(const Conv2d&, const Bfloat16*, const Bfloat16*, Bfloat16*,
                                          const Conv2dEpilogue<Bfloat16>&, Conv2dAlgorithm, void*, cudaStream_t);
template cudaError_t conv2d_backward_weight(const Conv2d&, const Bfloat16*, const Bfloat16*, Bfloat16*, Bfloat16*,
                                            Conv2dAlgorithm, void*, cudaStream_t);

}  // namespace jadro::cuda
