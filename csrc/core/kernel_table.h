// What every instruction set exports: one table of single-threaded kernels. csrc/ops splits a problem and calls these.
#pragma once

#include "core/shapes.h"

namespace jadro {

class Barrier;

template <class T>
struct Kernels {
  // Tile of the microkernel: what a split of a matrix product should be a multiple of.
  i64 tile_rows, tile_columns;
  i64 (*gemm_scratch)(i64 m, i64 n);
  void (*gemm_block)(const Gemm<T>&, Range m, Range n, T* scratch);
};

struct KernelTable {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace jadro
