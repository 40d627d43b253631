// Convolution on copies with the channels last: the passes of conv2d_pass.h as products of pieces.
#pragma once

#include "cuda/channels_last.h"
#include "cuda/conv2d_results.h"
#include "cuda/multiply_lines.h"
#include "cuda/multiply_pieces_exact.h"

namespace jadro::cuda {

inline i64 taps_of(const Conv2d& s) { return s.d.kernel * s.h.kernel * s.w.kernel; }
inline i64 x_pixels(const Conv2d& s) { return s.d.in * s.h.in * s.w.in; }
inline i64 y_pixels(const Conv2d& s) { return s.d.out * s.h.out * s.w.out; }

// Bytes of the copy of an array [n, groups*in, pixels].
template <class T>
i64 last_bytes(i64 n, i64 groups, i64 in, i64 pixels) {
  return n * pixels * groups * padded_channels<T>(in) * static_cast<i64>(sizeof(T));
}
template <class T>
i64 x_last_bytes(const Conv2d& s) {
  return last_bytes<T>(s.n, s.groups, s.ic / s.groups, x_pixels(s));
}
template <class T>
i64 y_last_bytes(const Conv2d& s) {
  return last_bytes<T>(s.n, s.groups, s.oc / s.groups, y_pixels(s));
}

// Whether places in the padded filters, and in a pixel, have 31 bits.
template <class T>
bool pieces_fit(const Conv2d& s) {
  const i64 most = INT32_MAX / s.groups / taps_of(s);
  return padded_channels<T>(s.ic / s.groups) <= most && padded_channels<T>(s.oc / s.groups) <= most;
}

// Whether products over groups of `in` channels gain by pieces now: without tensor cores not where padding would more
// than double their arithmetic.
template <class T>
bool gains_by_pieces(i64 in) {
  return uses_tensor_cores<T>() || padded_channels<T>(in) <= 2 * in;
}

template <class T, class A, class B, class C>
cudaError_t multiply_pieces(const Product& p, const A& a, const B& b, const C& c, void* scratch, cudaStream_t stream) {
  if (uses_tensor_cores<T>()) return multiply_pieces_on_tensor_cores<T>(p, a, b, c, scratch, stream);
  if constexpr (std::is_same_v<T, float>) return multiply_pieces_exactly(p, a, b, c, scratch, stream);
  return cudaErrorInvalidValue;
}

// Scratch memory of passes: the source and the filters with the channels last.
template <class T>
struct PassCopies {
  T *source, *filters;
};

template <class T, bool kDeep>
Conv2dPieces<T, kDeep> pieces_of(const Conv2dPass& p, const T* source) {
  const i64 channels = padded_channels<T>(p.in);
  return {p, source, static_cast<int>(channels), static_cast<int>(channels * p.groups), Divider(channels)};
}

template <class T>
cudaError_t run_pieces(const Conv2dPass& p, const T* w, const Stored<T>& stored, const PassCopies<T>& copies,
                       cudaStream_t stream) {
  const i64 channels = padded_channels<T>(p.in), row_size = channels * p.d.taps * p.h.taps * p.w.taps;
  const i64 size = p.groups * p.out * row_size;
  Lines<T, true> filters{copies.filters, p.out, row_size, p.out * row_size};
  if (channels == p.in && row_size == channels && p.filters_in_order() && on_packs(w)) {
    filters.data = w;  // one tap: they are so already
  } else if (size > 0) {
    const cudaError_t error = launch(filters_last_kernel<T>, dim3(blocks_for(size)), dim3(kThreads), 0, stream,
                                     Conv2dFilters<T>{p, w}, copies.filters, static_cast<int>(channels), size);
    if (error != cudaSuccess) return error;
  }
  const Product product = product_of(p.out, p.cells(), row_size, p.groups, false);
  return multiply_pieces<T>(product, filters, pieces_of<T, true>(p, copies.source), stored, nullptr, stream);
}

// The product behind the gradient of the weights: columns are (tap, channel).
template <class T>
Product weight_pieces(const Conv2d& s) {
  return product_of(s.oc / s.groups, padded_channels<T>(s.ic / s.groups) * taps_of(s), s.n * y_pixels(s), s.groups,
                    true);
}

inline i64 whole_packs(i64 bytes) { return ceil_div(bytes, 16) * 16; }

template <class T>
i64 weight_pieces_bytes(const Conv2d& s) {
  return whole_packs(product_scratch<T>(weight_pieces<T>(s))) + x_last_bytes<T>(s) + y_last_bytes<T>(s);
}

// dw; `p` is the forward pass.
template <class T>
cudaError_t run_weight_pieces(const Conv2d& s, const Conv2dPass& p, const T* dy, const T* x, T* dw, void* scratch,
                              cudaStream_t stream) {
  const Product product = weight_pieces<T>(s);
  char* const copies = static_cast<char*>(scratch) + whole_packs(product_scratch<T>(product));
  T* const x_last = reinterpret_cast<T*>(copies);
  T* const dy_last = reinterpret_cast<T*>(copies + x_last_bytes<T>(s));
  cudaError_t error = to_channels_last(x, x_last, s.n, s.groups, p.in, x_pixels(s), stream);
  if (error == cudaSuccess) error = to_channels_last(dy, dy_last, s.n, s.groups, p.out, y_pixels(s), stream);
  if (error != cudaSuccess) return error;
  const i64 channels = padded_channels<T>(p.out);
  const Conv2dResultPieces<T> rows{dy_last, static_cast<int>(channels), static_cast<int>(channels * s.groups)};
  const Conv2dPieces<T, false> columns = pieces_of<T, false>(p, x_last);
  const StoredWeightPieces<T> stored{dw, p.out, static_cast<int>(p.in), static_cast<int>(taps_of(s)),
                                     columns.by_channels};
  return multiply_pieces<T>(product, rows, columns, stored, scratch, stream);
}

}  // namespace jadro::cuda
