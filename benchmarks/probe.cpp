// Loops that do nothing but run into one limit of one core. Compiled by limits.py with -O3 -march=native, called from as many
// Python threads as cores are asked for (ctypes releases the GIL).
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kLanes = kBytes / sizeof(float);
constexpr int kChains = 12;  // independent sums: more than latency times issue width, fewer than the registers
typedef float Vec __attribute__((vector_size(kBytes), aligned(kBytes)));

extern "C" {

// Runs kChains fused multiply-adds `rounds` times; returns the operations done. `sink` receives the sums.
double fma_loop(int64_t rounds, float scale, float* sink) {
  Vec sums[kChains];
  for (int k = 0; k < kChains; ++k) sums[k] = Vec{} + static_cast<float>(k);  // unequal, so that none is shared
  const Vec a = Vec{} + scale, b = Vec{} + 1.0f;
  for (int64_t i = 0; i < rounds; ++i) {
    for (int k = 0; k < kChains; ++k) sums[k] = sums[k] * a + b;
  }
  Vec total = {};
  for (const Vec& sum : sums) total += sum;
  *sink = total[0];
  return 2.0 * kLanes * kChains * static_cast<double>(rounds);
}

// target[bytes] = source[bytes], both aligned to 64, bytes a multiple of 64, past the cache where the processor can.
void copy_loop(char* target, const char* source, size_t bytes) {
#if defined(__AVX__)
  for (size_t i = 0; i < bytes; i += 64) {
    const __m256 low = _mm256_load_ps(reinterpret_cast<const float*>(source + i));
    const __m256 high = _mm256_load_ps(reinterpret_cast<const float*>(source + i + 32));
    _mm256_stream_ps(reinterpret_cast<float*>(target + i), low);
    _mm256_stream_ps(reinterpret_cast<float*>(target + i + 32), high);
  }
  _mm_sfence();
#else
  __builtin_memcpy(target, source, bytes);
#endif
}

// Reads bytes (a multiple of 8 vectors) `rounds` times; `sink` receives the sum.
void read_loop(const char* source, size_t bytes, int64_t rounds, float* sink) {
  Vec sums[8] = {};
  for (int64_t r = 0; r < rounds; ++r) {
    const Vec* v = reinterpret_cast<const Vec*>(source);
    for (size_t i = 0; i < bytes / kBytes; i += 8) {
      for (int k = 0; k < 8; ++k) sums[k] += v[i + k];
    }
    asm volatile("" ::: "memory");
  }
  Vec total = {};
  for (const Vec& sum : sums) total += sum;
  *sink = total[0];
}
}
