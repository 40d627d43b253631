// 16-bit floats: what lies in memory, and, in kernels, how it becomes a float and back.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/shapes.h"
#include "cuda/runtime.h"

#if defined(JADRO_CUDA_HOST) || defined(__CUDACC__)
#define JADRO_CUDA_KERNELS
#endif

namespace jadro::cuda {

#if defined(JADRO_CUDA_HOST)

inline float half_to_float(std::uint16_t bits) {
  _Float16 v;
  std::memcpy(&v, &bits, sizeof v);
  return static_cast<float>(v);
}
inline std::uint16_t float_to_half(float v) {
  const _Float16 narrow = static_cast<_Float16>(v);
  std::uint16_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  return bits;
}
inline u32 float_bits(float v) {
  u32 bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}
inline float bits_float(u32 bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
inline std::uint16_t float_to_bfloat16(float v) {
  const u32 bits = float_bits(v);
  if (v != v) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
// To the nearest, ties away from zero.
inline u32 round_tf32(u32 bits) {
  const float v = bits_float(bits);
  return v != v ? bits : (bits + 0x1000) & ~u32{0x1FFF};
}

#elif defined(__CUDACC__)

__device__ inline float half_to_float(std::uint16_t bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
  return v;
}
__device__ inline std::uint16_t float_to_half(float v) {
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
__device__ inline std::uint16_t float_to_bfloat16(float v) {
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
__device__ inline float bits_float(u32 bits) { return __uint_as_float(bits); }
__device__ inline u32 round_tf32(u32 bits) {
  u32 rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
}

#endif

// IEEE's binary16, and the upper half of a float: what lies in memory. Arithmetic is float's.
struct Half {
  std::uint16_t bits;
#if defined(JADRO_CUDA_KERNELS)
  Half() = default;
  __device__ explicit Half(float v) : bits(float_to_half(v)) {}
  __device__ explicit operator float() const { return half_to_float(bits); }
#endif
};
struct Bfloat16 {
  std::uint16_t bits;
#if defined(JADRO_CUDA_KERNELS)
  Bfloat16() = default;
  __device__ explicit Bfloat16(float v) : bits(float_to_bfloat16(v)) {}
  __device__ explicit operator float() const { return bits_float(u32{bits} << 16); }
#endif
};

// What products of T are summed in.
template <class T>
struct SumOf {
  using Type = T;
};
template <>
struct SumOf<Half> {
  using Type = float;
};
template <>
struct SumOf<Bfloat16> {
  using Type = float;
};
template <class T>
using Sum = typename SumOf<T>::Type;

}  // namespace jadro::cuda
