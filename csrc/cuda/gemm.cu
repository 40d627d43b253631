// Matrix products of operands with any strides.
#include <utility>

#include "cuda/gemm.h"
#include "cuda/multiply_pieces.h"

namespace jadro::cuda {
namespace {

// Rows of A or columns of B, `along` apart, whose elements are `deep` apart.
template <class T>
struct Strided {
  const T* data;
  i64 count, along, deep;
  bool along_depth;

  __device__ void select(i64) {}
  __device__ const T* place(i64 index) const { return index < count ? data + index * along : nullptr; }
  __device__ i64 step(i64 k) const { return k < 0 ? -1 : k * deep; }
  __device__ T at(const T* place, i64 step) const { return place && step >= 0 ? place[step] : T(0); }
};

template <class T>
struct Rows {
  T* data;
  i64 row_size;
  const T* bias;
  bool accumulate;

  __device__ void select(i64) {}
  __device__ i64 place(i64 column) const { return column; }
  __device__ void put(i64 column, i64 row, Sum<T> value) const {
    T& to = data[row * row_size + column];
    if (bias) value += static_cast<Sum<T>>(bias[column]);
    to = static_cast<T>(accumulate ? static_cast<Sum<T>>(to) + value : value);
  }
};

}  // namespace

template <class T>
i64 gemm_scratch(i64 m, i64 n, i64 k) {
  return product_scratch<T>(product_of(m, n, k, 1, true));
}

template <class T, class Result>
cudaError_t gemm(const Gemm<T, Result>& g, void* scratch, cudaStream_t stream) {
  const Product p = product_of(g.m, g.n, g.k, 1, scratch != nullptr);
  const Rows<Result> c{g.c, g.c_row, g.bias, g.accumulate};
  if constexpr (!std::is_same_v<T, double>) {
    const bool along = g.a_col == 1 && g.b_row == 1;
    if (uses_tensor_cores<T>() && along && can_be_packed(g.a, g.a_row, 0) && can_be_packed(g.b, g.b_col, 0)) {
      return multiply_pieces_on_tensor_cores<T>(p, Packed<T>{g.a, g.m, g.a_row, 0}, Packed<T>{g.b, g.n, g.b_col, 0}, c,
                                                scratch, stream);
    }
  }
  const Strided<T> a{g.a, g.m, g.a_row, g.a_col, g.a_col == 1}, b{g.b, g.n, g.b_col, g.b_row, g.b_row == 1};
  return multiply<T>(p, a, b, c, scratch, stream);
}

void allow_tf32(bool allowed) { tf32_allowed = allowed; }

template i64 gemm_scratch<float>(i64, i64, i64);
template i64 gemm_scratch<double>(i64, i64, i64);
template i64 gemm_scratch<Half>(i64, i64, i64);
template i64 gemm_scratch<Bfloat16>(i64, i64, i64);
template cudaError_t gemm(const Gemm<float>&, void*, cudaStream_t);
template cudaError_t gemm(const Gemm<double>&, void*, cudaStream_t);
template cudaError_t gemm(const Gemm<Half>&, void*, cudaStream_t);
template cudaError_t gemm(const Gemm<Bfloat16>&, void*, cudaStream_t);
template cudaError_t gemm(const Gemm<Half, float>&, void*, cudaStream_t);
template cudaError_t gemm(const Gemm<Bfloat16, float>&, void*, cudaStream_t);

}  // namespace jadro::cuda
