// What every instruction set exports: one table of single-threaded kernels. csrc/ops splits a problem and calls these.
#pragma once

#include "core/shapes.h"

namespace jadro {

class Barrier;

// One direction of one layer; w_ih and w_hh packed by rnn_pack_forward. in[k] = W_k x + bias_k, biases added up where the cell adds them;
// bias_n [H] is the GRU's b'_n. h0 [N,H], y [T,N,..H], cn [N,H] holds c0 at the start and the last cell state at the end; saved
// [T,N,kSaved,H] and cells [T,N,H] are null in inference.
template <class T>
struct RnnForward {
  Rnn shape;
  const T *x, *h0, *w_ih, *w_hh, *bias, *bias_n;
  T *y, *cn, *saved, *cells;
};

// w_hh packed by rnn_pack_backward. dh, dc [N,H]: gradients of the last state at the start, of h0 and c0 at the end; da
// [T,N,kGrads,H]: gradients of the pre-activations.
template <class T>
struct RnnBackward {
  Rnn shape;
  const T *h0, *c0, *w_hh, *y, *saved, *cells, *dy;
  T *dh, *dc, *da;
};

template <class T>
struct Kernels {
  // Tile of the microkernel: what a split of a matrix product should be a multiple of.
  i64 tile_rows, tile_columns;
  i64 (*gemm_scratch)(i64 m, i64 n);
  void (*gemm_block)(const Gemm<T>&, Range m, Range n, T* scratch);
  void (*rnn_pack_forward)(const T* w, i64 gates, i64 hidden, i64 k, T* packed);
  void (*rnn_pack_backward)(const T* u, i64 rows, i64 hidden, T* packed);
  i64 (*rnn_forward_scratch)(const Rnn&, i64 rows, i64 units);
  i64 (*rnn_backward_scratch)(const Rnn&, i64 rows);
  void (*rnn_forward)(const RnnForward<T>&, Range rows, Range units, T* scratch, Barrier*);
  void (*rnn_backward)(const RnnBackward<T>&, Range rows, Range units, T* scratch, Barrier*);
  void (*sum_rows)(const T* a, i64 rows, i64 row, Range columns, bool accumulate, T* out);
  void (*activation_forward)(Activation, const T* x, T* y, i64 n);
  void (*activation_backward)(Activation, const T* dy, const T* y, T* dx, i64 n);
  void (*random_uniform)(T* out, i64 n, u64 seed, u64 offset);
  void (*dropout)(const T* x, T* y, i64 n, u32 threshold, T keep, u64 seed, u64 offset);
  void (*cross_entropy_forward)(const CrossEntropy<T>&, Range rows, T* losses, T* lse);
  void (*cross_entropy_backward)(const CrossEntropy<T>&, Range rows, const T* lse, const T* dlosses, T* dx);
  void (*embedding_forward)(const T* weight, i64 width, const i64* ids, i64 rows, T* y);
  void (*embedding_backward)(const T* dy, i64 width, const i64* ids, i64 rows, i64 skip, Range columns, T* dweight);
  void (*adam_step)(const AdamStep<T>&, const AdamParameter<T>&, Range);
};

struct KernelTable {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace jadro
