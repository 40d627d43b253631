// Table look-up and its gradient.
#include "cuda/embedding.h"
#include "cuda/float16.h"
#include "cuda/launch.h"
#include "cuda/math.h"

namespace jadro::cuda {
namespace {

template <class T>
__global__ void forward_kernel(i64 entries, i64 width, i64 size, const T* weight, const i64* ids, T* y) {
  const i64 step = static_cast<i64>(gridDim.x) * blockDim.x;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    const i64 row = i / width, id = ids[row];
    y[i] = id >= 0 && id < entries ? weight[id * width + i - row * width] : not_a_number<T>();
  }
}

constexpr int kRows = 128, kWarp = 32;  // threads of a block: each looks at one id of a piece, then adds columns

// A block sums one entry: it finds the rows of a piece that hold it, a bit each, and adds them in their order.
template <class T>
__global__ void backward_kernel(i64 entries, i64 width, i64 rows, const T* dy, const i64* ids, i64 skip, T* dweight) {
  unsigned* const found = dynamic_shared<unsigned>();
  const int t = static_cast<int>(threadIdx.x);
  for (i64 entry = blockIdx.x; entry < entries; entry += gridDim.x) {
    for (i64 first = 0; first < width; first += kRows) {
      const i64 column = first + t;
      Sum<T> sum = 0;
      for (i64 row = 0; entry != skip && row < rows; row += kRows) {
        const unsigned votes = __ballot_sync(~0u, row + t < rows && ids[row + t] == entry);
        if (t % kWarp == 0) found[t / kWarp] = votes;
        __syncthreads();
        for (int warp = 0; warp < kRows / kWarp; ++warp) {
          for (unsigned left = found[warp]; left != 0; left &= left - 1) {
            const i64 from = row + warp * kWarp + __ffs(static_cast<int>(left)) - 1;
            if (column < width) sum += static_cast<Sum<T>>(dy[from * width + column]);
          }
        }
        __syncthreads();
      }
      if (column < width) dweight[entry * width + column] = static_cast<T>(sum);
    }
  }
}

}  // namespace

template <class T>
cudaError_t embedding_forward(i64 entries, i64 width, i64 rows, const T* weight, const i64* ids, T* y,
                              cudaStream_t stream) {
  const i64 size = rows * width;
  if (size == 0) return cudaSuccess;
  return launch(forward_kernel<T>, dim3(blocks_for(size)), dim3(kThreads), 0, stream, entries, width, size, weight, ids,
                y);
}

template <class T>
cudaError_t embedding_backward(i64 entries, i64 width, i64 rows, const T* dy, const i64* ids, i64 skip, T* dweight,
                               cudaStream_t stream) {
  if (entries * width == 0) return cudaSuccess;
  const i64 blocks = entries < INT32_MAX ? entries : INT32_MAX;
  return launch(backward_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kRows), kRows / kWarp * sizeof(unsigned),
                stream, entries, width, rows, dy, ids, skip, dweight);
}

#define JADRO_EMBEDDING(T)                                                                       \
  template cudaError_t embedding_forward(i64, i64, i64, const T*, const i64*, T*, cudaStream_t); \
  template cudaError_t embedding_backward(i64, i64, i64, const T*, const i64*, i64, T*, cudaStream_t);
JADRO_EMBEDDING(float)
JADRO_EMBEDDING(double)
JADRO_EMBEDDING(Half)
JADRO_EMBEDDING(Bfloat16)
#undef JADRO_EMBEDDING

}  // namespace jadro::cuda
