// Arrays with the channels last: [n, d, h, w, groups * channels], those of a group padded with zeros to whole pieces of
// 16 bytes, and the operands of a convolution's products that read them piece by piece.
#pragma once

#include "cuda/conv2d_pass.h"
#include "cuda/multiply_pieces.h"

namespace jadro::cuda {

template <class T>
i64 padded_channels(i64 channels) {
  return ceil_div(channels, kPieceSize<T>) * kPieceSize<T>;
}

// x[planes, in, size] to y[planes / groups, size, groups, channels]; a plane is a group of an image.
template <class T>
struct ChannelsLast {
  const T* x;
  T* y;
  i64 in, size, groups, channels;
};

// A block takes a tile of kLastChannels<T> channels and kPixels pixels. In shared memory a row is a channel, an odd
// number of words long: threads that read a column of it meet different banks.
template <class T>
constexpr int kLastChannels = 128 / static_cast<int>(sizeof(T));
constexpr int kPixels = 64;
template <class T>
constexpr int kPixelRow = kPixels + 4 / static_cast<int>(sizeof(T));

// Tile of `tile`: rows are channels from c0 on, columns pixels from p0 on; packs: all rows of x lie on packs.
template <class T>
__device__ void read_channels(const ChannelsLast<T>& a, const T* plane, i64 c0, i64 p0, bool packs, T* tile) {
  constexpr int kEach = Pack<T>::kSize, kRow = kPixelRow<T>, kPacks = kPixels / kEach;
  const int t = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(min(a.in - c0, static_cast<i64>(kLastChannels<T>)));
  const int pixels = static_cast<int>(min(a.size - p0, static_cast<i64>(kPixels)));
  if (packs) {
    const int p = t % kPacks * kEach;
    if (p >= pixels) return;
    for (int c = t / kPacks; c < count; c += kThreads / kPacks) {
      const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(plane + (c0 + c) * a.size + p0 + p);
#pragma unroll
      for (int i = 0; i < kEach; ++i) tile[c * kRow + p + i] = pack.v[i];
    }
  } else {
    const int p = t % kPixels;
    if (p >= pixels) return;
    for (int c = t / kPixels; c < count; c += kThreads / kPixels) {
      tile[c * kRow + p] = plane[(c0 + c) * a.size + p0 + p];
    }
  }
}

template <class T>
__global__ void channels_last_kernel(ChannelsLast<T> a, i64 pixel_tiles, i64 channel_tiles, bool packs) {
  constexpr int kEach = Pack<T>::kSize, kPacks = kLastChannels<T> / kEach;
  const i64 p0 = blockIdx.x % pixel_tiles * kPixels, rest = blockIdx.x / pixel_tiles;
  const i64 c0 = rest % channel_tiles * kLastChannels<T>, plane = rest / channel_tiles;
  T* const tile = dynamic_shared<T>();
  read_channels(a, a.x + plane * a.in * a.size, c0, p0, packs, tile);
  __syncthreads();
  const i64 image = plane / a.groups, group = plane % a.groups, row_size = a.groups * a.channels;
  T* const y = a.y + (image * a.size + p0) * row_size + group * a.channels + c0;
  const int pixels = static_cast<int>(min(a.size - p0, static_cast<i64>(kPixels)));
  const int there = static_cast<int>(min(a.in - c0, static_cast<i64>(kLastChannels<T>)));
  const int t = static_cast<int>(threadIdx.x), c = t % kPacks * kEach;
  if (c0 + c >= a.channels) return;
  for (int p = t / kPacks; p < pixels; p += kThreads / kPacks) {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < kEach; ++i) pack.v[i] = c + i < there ? tile[(c + i) * kPixelRow<T> + p] : T(0);
    *reinterpret_cast<Pack<T>*>(y + p * row_size + c) = pack;
  }
}

template <class T>
cudaError_t to_channels_last(const T* x, T* y, i64 n, i64 groups, i64 in, i64 size, cudaStream_t stream) {
  const ChannelsLast<T> a{x, y, in, size, groups, padded_channels<T>(in)};
  const i64 pixel_tiles = ceil_div(size, kPixels), channel_tiles = ceil_div(a.channels, kLastChannels<T>);
  const i64 blocks = n * groups * pixel_tiles * channel_tiles;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const bool packs = on_packs(x) && size % Pack<T>::kSize == 0;
  return launch(channels_last_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads),
                kLastChannels<T> * kPixelRow<T> * sizeof(T), stream, a, pixel_tiles, channel_tiles, packs);
}

// The filters of a pass as y[groups, out, taps, channels].
template <class T>
__global__ void filters_last_kernel(Conv2dFilters<T> w, T* y, int channels, i64 size) {
  const Conv2dPass& p = w.pass;
  const i64 taps = p.by_taps.divisor, step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    const int c = static_cast<int>(i % channels);
    const i64 tap = i / channels % taps, row = i / channels / taps;
    const i64 at = row / p.out * p.w_group + row % p.out * p.w_out;
    Place3 place = tap_of(p, tap);
    place.outer = c;
    y[i] = c < p.in ? w.data[at + w.element(place)] : T(0);
  }
}

// The source of a pass, as columns (kDeep: columns are cells, the depth is (tap, channel)) and, for the gradient of the
// weights, the other way round.
template <class T, bool kDeep>
struct Conv2dPieces {
  static constexpr bool deep = kDeep;
  Conv2dPass pass;
  const T* data;
  int channels, row_size;  // of a group, padded; of a pixel
  Divider by_channels;

  // A cell's place in the source, or how far from it a tap reads, and from which channel on; which < 0: nothing.
  struct Offset {
    int which, d, h, w;
  };
  __device__ void select(i64 group) { data += group * channels; }
  __device__ Offset cell(i64 index, i64 count) const {
    if (index >= count) return {-1, 0, 0, 0};
    const Place3 c = cell_of(pass, index);
    return {c.outer * static_cast<int>(pass.source_size()), c.d * pass.d.step, c.h * pass.h.step, c.w * pass.w.step};
  }
  __device__ Offset tap(i64 index, i64 count) const {
    if (index >= count) return {-1, 0, 0, 0};
    const u32 tap = by_channels.divide(static_cast<u32>(index));
    const Place3 t = split_index(tap, pass.by_taps, pass.by_taps_hw, pass.by_taps_w);
    return {static_cast<int>(static_cast<u32>(index) - tap * by_channels.divisor), pass.d.first + t.d * pass.d.apart,
            pass.h.first + t.h * pass.h.apart, pass.w.first + t.w * pass.w.apart};
  }
  __device__ Offset place(i64 index) const {
    if constexpr (kDeep) return cell(index, pass.by_grid.divisor * pass.n);
    return tap(index, static_cast<i64>(pass.by_taps.divisor) * channels);
  }
  __device__ Offset step(i64 k, i64 end) const {
    if constexpr (kDeep) return tap(k, end);
    return cell(k, end);
  }
  __device__ Piece<T> piece(const Offset& place, const Offset& step) const {
    int d = place.d + step.d, h = place.h + step.h, w = place.w + step.w;
    bool there = place.which >= 0 && step.which >= 0;
    if (there && pass.mode != PaddingMode::kZeros) {
      d = static_cast<int>(source_cell(pass.mode, d, pass.d.source));
      h = static_cast<int>(source_cell(pass.mode, h, pass.h.source));
      w = static_cast<int>(source_cell(pass.mode, w, pass.w.source));
    }
    const auto inside = [](int i, int size) { return static_cast<u32>(i) < static_cast<u32>(size); };
    there = there && inside(d, pass.d.source) && inside(h, pass.h.source) && inside(w, pass.w.source);
    if (!there) return {data, 0};
    const int image = kDeep ? place.which : step.which, channel = kDeep ? step.which : place.which;
    const i64 pixel = image + (d * pass.h.source + h) * pass.w.source + w;
    return {data + pixel * row_size + channel, 16};
  }
};

// dy as the rows of the gradient of the weights, the depth its pixels.
template <class T>
struct Conv2dResultPieces {
  static constexpr bool deep = false;
  const T* data;
  int channels, row_size;

  __device__ void select(i64 group) { data += group * channels; }
  __device__ int place(i64 row) const { return row < channels ? static_cast<int>(row) : -1; }
  __device__ int step(i64 k, i64 end) const { return k < end ? static_cast<int>(k) : -1; }
  __device__ Piece<T> piece(int place, int step) const {
    return place >= 0 && step >= 0 ? Piece<T>{data + static_cast<i64>(step) * row_size + place, 16} : Piece<T>{data, 0};
  }
};

}  // namespace jadro::cuda
