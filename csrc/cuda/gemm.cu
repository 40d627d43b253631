// Matrix products of operands with any strides; on tensor cores, with a stride of 1 along one of the axes.
#include "cuda/gemm.h"
#include "cuda/multiply_lines.h"

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

// f(lines) of rows of A or columns of B, `along` apart, whose elements are `deep` apart.
template <class T, class F>
cudaError_t with_lines(const T* data, i64 count, i64 along, i64 deep, F f) {
  if (deep == 1) return f(lines_of<T, true>(data, count, along));
  if (along == 1) return f(lines_of<T, false>(data, count, deep));
  return cudaErrorInvalidValue;
}

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
    if (uses_tensor_cores<T>()) {
      return with_lines(g.a, g.m, g.a_row, g.a_col, [&](const auto& a) {
        return with_lines(g.b, g.n, g.b_col, g.b_row,
                          [&](const auto& b) { return multiply_lines(p, a, b, c, scratch, stream); });
      });
    }
  }
  if constexpr (sizeof(T) > 2) {
    const Strided<T> a{g.a, g.m, g.a_row, g.a_col, g.a_col == 1}, b{g.b, g.n, g.b_col, g.b_row, g.b_row == 1};
    return multiply_exactly<T>(p, a, b, c, scratch, stream);
  }
  return cudaErrorInvalidValue;
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
