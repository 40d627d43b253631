// Where the results of a convolution's products go.
#pragma once

#include "cuda/conv2d.h"
#include "cuda/conv2d_pass.h"
#include "cuda/multiply_pieces.h"
#include "cuda/rectifier.h"

namespace jadro::cuda {

// The epilogue, then dst[n, groups*out, d, h, w].
template <class T>
struct Stored {
  Conv2dPass pass;
  T* data;
  Conv2dEpilogue<T> then;
  bool has_runs;
  i64 channel = 0;

  // Runs of columns are runs of places, and begin on packs, where the grid is the whole destination.
  Stored(const Conv2dPass& pass, T* data, const Conv2dEpilogue<T>& then) : pass(pass), data(data), then(then) {
    const auto whole = [](const PassAxis& a) { return a.grid == a.destination && a.dst_step == 1 && a.dst_first == 0; };
    has_runs = whole(pass.d) && whole(pass.h) && whole(pass.w) && pass.destination_size() % Pack<T>::kSize == 0 &&
               on_packs(data) && on_packs(then.add);
  }
  __device__ void select(i64 group) { channel = group * pass.out; }
  __device__ i64 place(i64 column) const {
    const Place3 c = cell_of(pass, column);
    const i64 d = c.d * pass.d.dst_step + pass.d.dst_first, h = c.h * pass.h.dst_step + pass.h.dst_first;
    const i64 w = c.w * pass.w.dst_step + pass.w.dst_first;
    return c.outer * pass.groups * pass.out * pass.destination_size() +
           (d * pass.h.destination + h) * pass.w.destination + w;
  }
  __device__ T finished(Sum<T> value, i64 o, T add) const {
    if (then.scale) value *= static_cast<Sum<T>>(then.scale[o]);
    if (then.bias) value += static_cast<Sum<T>>(then.bias[o]);
    if (then.add) value += static_cast<Sum<T>>(add);
    return static_cast<T>(rectified(then.rectifier, o, value));
  }
  __device__ void put(i64 place, i64 row, Sum<T> value) const {
    const i64 o = channel + row, at = place + o * pass.destination_size();
    data[at] = finished(value, o, then.add ? then.add[at] : T(0));
  }
  __device__ void put_run(i64 place, i64 row, const Sum<T>* values) const {
    const i64 o = channel + row, at = place + o * pass.destination_size();
    Pack<T> add{}, result;
    if (then.add) add = *reinterpret_cast<const Pack<T>*>(then.add + at);
#pragma unroll
    for (int i = 0; i < Pack<T>::kSize; ++i) result.v[i] = finished(values[i], o, add.v[i]);
    *reinterpret_cast<Pack<T>*>(data + at) = result;
  }
};
template <class T>
constexpr int run_of<Stored<T>> = Pack<T>::kSize;

// dw[groups, out, in, taps]; columns are (in, taps).
template <class T>
struct StoredWeights {
  T* data;
  i64 out, row_size;

  __device__ void select(i64 group) { data += group * out * row_size; }
  __device__ i64 place(i64 column) const { return column; }
  __device__ void put(i64 column, i64 row, Sum<T> value) const {
    data[row * row_size + column] = static_cast<T>(value);
  }
};

// The same where columns are (taps, channels), of which the first `in` count.
template <class T>
struct StoredWeightPieces {
  T* data;
  i64 out;
  int in, taps;
  Divider by_channels;

  __device__ void select(i64 group) { data += group * out * in * taps; }
  __device__ i64 place(i64 column) const {
    const u32 tap = by_channels.divide(static_cast<u32>(column));
    const u32 channel = static_cast<u32>(column) - tap * by_channels.divisor;
    return channel < static_cast<u32>(in) ? static_cast<i64>(channel) * taps + tap : -1;
  }
  __device__ void put(i64 place, i64 row, Sum<T> value) const {
    if (place >= 0) data[row * in * taps + place] = static_cast<T>(value);
  }
};

}  // namespace jadro::cuda
