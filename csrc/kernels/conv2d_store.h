// From a tile of the product to the image: by the microkernel itself where a tile is whole vectors of neighbours, else
// through a buffer.
#pragma once

#include <limits>

#include "kernels/conv2d_planes.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

// Finished tiles through the epilogue to the image.
template <class T>
class Conv2dStore {
 public:
  Conv2dStore(const Conv2dProduct<T>& product, i64 group_number)
      : a(product),
        group(group_number),
        plane(product.pass.dst_plane()),
        image(product.pass.groups * product.pass.out * plane),
        start(group * product.pass.out * plane) {}

  // Asks for the cache lines of a tile before the product that fills it.
  JADRO_INLINE void touch(i64 m, i64 rows, const Run& run) const {
    if (a.past_caches) return;
    const i64 bytes = run.count * a.pass.dst_step_w * static_cast<i64>(sizeof(T)), step = plane;
    const T* dst = a.dst + start_of(m, run);
    for (i64 r = 0; r < rows; ++r, dst += step) {
      for (i64 line = 0; line < bytes; line += 64) __builtin_prefetch(reinterpret_cast<const char*>(dst) + line, 1);
    }
  }

  // Whether the microkernel can store all tiles that are whole vectors of neighbours.
  bool ends() const {
    const Rectifier<T>& r = a.epilogue.rectifier;
    return !r.on || (!r.slope && r.most == std::numeric_limits<T>::infinity());
  }
  // How it stores those of channels [m, ...), but where,
  TileEnd<T> end(i64 m) const {
    static constexpr T kNone = 0, kOne = 1;
    const Conv2dEpilogue<T>& e = a.epilogue;
    const i64 channel = group * a.pass.out + m;
    TileEnd<T> end{nullptr,
                   plane,
                   nullptr,
                   plane,
                   e.scale ? e.scale + channel : &kOne,
                   e.bias ? e.bias + channel : &kNone,
                   e.scale != nullptr,
                   e.bias != nullptr,
                   e.rectifier.on ? T(0) : -std::numeric_limits<T>::infinity()};
    end.step = sizeof(Run) / sizeof(i64);
    return end;
  }
  // and where those of `tiles` runs go; even: whole vectors apart.
  JADRO_INLINE void aim(i64 m, const Run& run, i64 tiles, bool even, TileEnd<T>& end) const {
    const i64 at = start_of(m, run);
    end.dst = a.dst + at;
    end.add = a.epilogue.add ? a.epilogue.add + at : nullptr;
    end.past_caches = even && goes_past(at, run.count);
    end.tiles = tiles, end.bases = &run.base, end.places = &run.pixel;
  }

  // Rows of `pitch` elements, results for run.count neighbouring pixels.
  __attribute__((noinline)) void operator()(const T* tile, i64 pitch, i64 m, i64 rows, const Run& run) const {
    const i64 at = start_of(m, run), count = run.count;
    if (goes_past(at, count)) {
      store_rows(tile, pitch, m, rows, at, count, [](T* p, Vec<T> v, i64) { stream(p, v); });
    } else {
      store_rows(tile, pitch, m, rows, at, count, [](T* p, Vec<T> v, i64 n) { store_n(p, v, n); });
    }
  }

  // One phase of a row of which no other is at hand: to every dst_step_w-th pixel.
  void apart(const T* tile, i64 m, i64 rows, const Run& run) const {
    for (i64 i = 0; i < run.count; ++i) {
      (*this)(tile + i, kNr<T>, m, rows, {run.first + i, 1, 0, run.n, run.pixel + i * a.pass.dst_step_w});
    }
  }

 private:
  i64 start_of(i64 m, const Run& run) const { return run.n * image + start + m * plane + run.pixel; }
  bool goes_past(i64 at, i64 count) const {
    return a.past_caches && count % kLanes<T> == 0 && plane % kLanes<T> == 0 &&
           reinterpret_cast<std::uintptr_t>(a.dst + at) % kVectorBytes == 0;
  }

  // What all rows share stands in locals: stores may change anything else.
  template <class Put>
  JADRO_INLINE void store_rows(const T* tile, i64 pitch, i64 m, i64 rows, i64 at, i64 count, Put put) const {
    const Conv2dEpilogue<T> e = a.epilogue;
    const T none = 0, one = 1;
    const i64 step = plane;
    i64 channel = group * a.pass.out + m;
    const T *bias = e.bias ? e.bias + channel : &none, *scale = e.scale ? e.scale + channel : &one;
    const i64 next_bias = e.bias != nullptr, next_scale = e.scale != nullptr;
    T* dst = a.dst + at;
    const T* add = e.add ? e.add + at : nullptr;
    for (i64 r = 0; r < rows; ++r, dst += step, tile += pitch, bias += next_bias, scale += next_scale, ++channel) {
      for_vectors<T>(count, [&](i64 i, i64 n) {
        Vec<T> v = load(tile + i) * *scale + *bias;
        if (add) v += load_n(add + r * step + i, n);
        put(dst + i, rectified(e.rectifier, channel, v), n);
      });
    }
  }

  const Conv2dProduct<T>& a;
  const i64 group, plane, image, start;  // elements of a plane, of an image, before the group
};

// wide[rows][kNr * kCount] = the columns of kCount tiles in turn.
template <class T, int kCount>
void interleave_tiles(const T* tiles, i64 rows, T* wide) {
  for (i64 i = 0; i < rows * kNr<T>; i += kLanes<T>, wide += kLanes<T> * kCount) {
    Vec<T> v[kCount];
#pragma GCC unroll 4
    for (int f = 0; f < kCount; ++f) v[f] = load(tiles + f * kMr * kNr<T> + i);
    for_in_turn<T, kCount>(v, [&](int part, Vec<T> woven) { store(wide + part * kLanes<T>, woven); });
  }
}

// A finished tile [cells][channels] to the image.
template <class T>
JADRO_INLINE void store_turned(const Conv2dStore<T>& sink, const T* tile, i64 cells, i64 m, i64 channels,
                               const Run* runs, i64 begin, i64 end) {
  constexpr i64 kN = kLanes<T>, kPitch = (kMr + kN - 1) / kN * kN;
  alignas(64) T turned[kNr<T> * kPitch + kN];  // whole vectors are read from where a run starts
  for (i64 i = 0; i < cells; i += kN) {
    load_transposed(tile + i * kNr<T>, kNr<T>, min(kN, cells - i), channels, kPitch, turned + i);
  }
  for (i64 i = begin; i < end; ++i) sink(turned + runs[i].first - runs[begin].first, kPitch, m, channels, runs[i]);
}

// Finished tiles of all phases to the image.
template <class T>
JADRO_INLINE void store_phases(const Conv2dStore<T>& sink, const Conv2dPass& p, const T* tiles, i64 count, i64 m,
                               i64 height, const Run* runs, i64 begin, i64 end) {
  alignas(64) T wide[kConv2dPhases * kMr * kNr<T>];
  static_assert(kConv2dPhases == 4);
  if (count == 2) interleave_tiles<T, 2>(tiles, height, wide);
  if (count == 3) interleave_tiles<T, 3>(tiles, height, wide);
  if (count == 4) interleave_tiles<T, 4>(tiles, height, wide);
  for (i64 i = begin; i < end; ++i) {
    Run run = runs[i];
    const i64 column = run.first - runs[begin].first;
    if (count > 1) {
      run.count = min(run.count * count, p.dst_w - run.pixel % p.dst_w);  // the last column may lack phases
      sink(wide + column * count, kNr<T> * count, m, height, run);
    } else if (p.dst_step_w > 1) {
      sink.apart(tiles + column, m, height, run);
    } else {
      sink(tiles + column, kNr<T>, m, height, run);
    }
  }
}

}  // namespace
}  // namespace jadro
