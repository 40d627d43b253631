// Matrices as operands of the tile of multiply_pieces.h: lines, each a run of memory.
#pragma once

#include "cuda/multiply_pieces.h"

namespace jadro::cuda {

// Lines `apart` from each other that all begin on 16 bytes: kDeep, a row of A, or a column of B, each; else a step of
// the depth each.
template <class T, bool kDeep>
struct Lines {
  static constexpr bool deep = kDeep;
  const T* data;
  i64 count, apart, batch;  // count: of the rows, or columns

  struct Step {
    i64 at;
    int bytes;
  };
  static __device__ int bytes_of(i64 elements) {
    const i64 most = min(elements, static_cast<i64>(kPieceSize<T>));
    return most > 0 ? static_cast<int>(most) * static_cast<int>(sizeof(T)) : 0;
  }
  __device__ void select(i64 index) { data += index * batch; }
  __device__ i64 place(i64 index) const { return index < count ? (kDeep ? index * apart : index) : -1; }
  __device__ Step step(i64 k, i64 end) const {
    if constexpr (kDeep) return {k, bytes_of(end - k)};
    return {k * apart, k < end ? 16 : 0};
  }
  __device__ Piece<T> piece(i64 place, const Step& step) const {
    if (place < 0 || step.bytes == 0) return {data, 0};
    return {data + place + step.at, kDeep ? step.bytes : bytes_of(count - place)};
  }
};

// A piece on `unit` bytes: 16, 4 or those of a number.
template <class T>
struct LoosePiece : Piece<T> {
  int unit;
};
template <class T>
__device__ void copy_piece(T* shared, const LoosePiece<T>& piece) {
  constexpr int kSize = static_cast<int>(sizeof(T)), kWord = 4 / kSize;
  if (piece.unit == 16) {
    copy_async<16>(shared, piece.from, piece.bytes);
  } else if (kSize == 4 || piece.unit == 4) {
#pragma unroll
    for (int i = 0; i < kPieceSize<T>; i += kWord) {
      const int bytes = min(piece.bytes - i * kSize, 4);
      copy_async<4>(shared + i, bytes > 0 ? piece.from + i : piece.from, max(bytes, 0));
    }
  } else {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < kPieceSize<T>; ++i) pack.v[i] = i * kSize < piece.bytes ? piece.from[i] : T(0);
    *reinterpret_cast<Pack<T>*>(shared) = pack;
  }
}

// Lines that begin anywhere.
template <class T, bool kDeep>
struct LooseLines : Lines<T, kDeep> {
  int unit;

  __device__ LoosePiece<T> piece(i64 place, const typename Lines<T, kDeep>::Step& step) const {
    return {Lines<T, kDeep>::piece(place, step), unit};
  }
};

// Whether lines that are `apart` all begin on `unit` bytes.
template <class T>
bool lines_lie_on(int unit, const T* data, i64 apart) {
  return reinterpret_cast<std::uintptr_t>(data) % unit == 0 && apart * static_cast<i64>(sizeof(T)) % unit == 0;
}

template <class T, bool kDeep>
LooseLines<T, kDeep> lines_of(const T* data, i64 count, i64 apart) {
  const int unit = lines_lie_on(16, data, apart) ? 16 : lines_lie_on(4, data, apart) ? 4 : static_cast<int>(sizeof(T));
  return {{data, count, apart, 0}, unit};
}

// Loose lines take the small tile alone, and so do the rare products of columns of A and columns of B.
template <class T, bool kDeepA, bool kDeepB, class C>
cudaError_t multiply_lines(const Product& p, const LooseLines<T, kDeepA>& a, const LooseLines<T, kDeepB>& b, const C& c,
                           void* scratch, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return cudaSuccess;
  if constexpr (kDeepA || !kDeepB) {
    const Lines<T, kDeepA>& left = a;
    const Lines<T, kDeepB>& right = b;
    if (a.unit == 16 && b.unit == 16) {
      return multiply_pieces_on_tensor_cores<T>(p, left, right, c, scratch, stream);
    }
  }
  const Slices<float> slices{static_cast<float*>(scratch), p.rows, p.columns, p.slices};
  const cudaError_t error = pieces_with<T, 64, 64>(p, a, b, c, slices, stream);
  return error == cudaSuccess ? add_slices(p, c, slices, stream) : error;
}

}  // namespace jadro::cuda
