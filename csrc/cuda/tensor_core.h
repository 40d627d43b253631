// The tensor cores' product and copies behind the threads' backs: the instructions that only a card has,
// each with what it means on the host.
//
// Registers are words of 32 bits: two 16-bit floats that are neighbours in the depth, or one TF32. The product of a
// warp is c[16,8] += a[16,8 words] b[8 words,8], for every type alike (PTX ISA, "Matrix fragments for mma.m16n8k16" and
// ".m16n8k8"): with g = lane / 4 and w = lane % 4 a lane holds a[g][w], a[g + 8][w], a[g][w + 4], a[g + 8][w + 4], of b
// the words w and w + 4 of column g, and c[g][2 w], c[g][2 w + 1], c[g + 8][2 w], c[g + 8][2 w + 1].
#pragma once

#include <cstring>
#include <type_traits>

#include "cuda/float16.h"
#include "cuda/launch.h"

namespace jadro::cuda {

#if defined(JADRO_CUDA_HOST)

// The number i of a word's.
template <class T>
float number_of(u32 word, int i) {
  if constexpr (sizeof(T) == 4) {
    return bits_float(word & ~u32{0x1FFF});
  } else {
    T v;
    v.bits = static_cast<std::uint16_t>(word >> 16 * i);
    return static_cast<float>(v);
  }
}

template <class T>
void tensor_product(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  u32 words[32][6];
  const u32 mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  host::share(mine, words);
  const int lane = static_cast<int>(host::lane()), g = lane / 4, w = lane % 4;
  constexpr int kEach = 4 / sizeof(T);
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * w + i % 2;
    for (int k = 0; k < 8 * kEach; ++k) {
      const int word = k / kEach, quarter = word % 4;
      const u32 left = words[row % 8 * 4 + quarter][row / 8 + word / 4 * 2];
      const u32 right = words[column * 4 + quarter][4 + word / 4];
      c[i] += number_of<T>(left, k % kEach) * number_of<T>(right, k % kEach);
    }
  }
}

inline u32 word_at(const void* p) {
  u32 word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

template <int kBytes>
void copy_async(void* shared, const void* from, int bytes) {
  std::memset(shared, 0, kBytes);
  std::memcpy(shared, from, static_cast<std::size_t>(bytes));
}
inline void commit_copies() {}
template <int kPending>
void wait_for_copies() {}

template <bool kTransposed>
void load_matrices(u32 (&words)[4], const void* row) {
  u32 mine[2], all[32][2];
  std::memcpy(mine, &row, sizeof mine);
  host::share(mine, all);
  const unsigned lane = host::lane(), g = lane / 4, w = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    std::uint16_t halves[2];
    for (unsigned j = 0; j < 2; ++j) {
      const unsigned from = kTransposed ? 2 * w + j : g, at = kTransposed ? g : 2 * w + j;
      const std::uint16_t* address;
      std::memcpy(&address, all[i * 8 + from], sizeof address);
      halves[j] = address[at];
    }
    std::memcpy(&words[i], halves, sizeof halves);
  }
}

#else

template <class T>
__device__ inline void tensor_product(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  if constexpr (std::is_same_v<T, Half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

__device__ inline u32 word_at(const void* p) { return *static_cast<const u32*>(p); }

// 16 bytes, or 4, to shared memory without passing through registers: the first `bytes` of them from memory, the others
// 0. Both ends lie on as many bytes.
template <int kBytes>
__device__ inline void copy_async(void* shared, const void* from, int bytes) {
  const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(to), "l"(from), "r"(bytes), "n"(kBytes)
                 : "memory");
  }
}
// The copies since the last call are a group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// This thread's copies are done, but for the last kPending groups; others see them behind the next barrier.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four matrices of 8 rows of 16 bytes, whose addresses lanes 8 i, ... 8 i + 7 give for matrix i: word w of row g of
// each, or, transposed, the 16-bit elements 2 w and 2 w + 1 of column g.
template <bool kTransposed>
__device__ inline void load_matrices(u32 (&words)[4], const void* row) {
  const u32 at = static_cast<u32>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(at)
                 : "memory");
  }
}

#endif

}  // namespace jadro::cuda
