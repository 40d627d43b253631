// Arithmetic of arrays and numbers, elementwise. NaN passes, from either operand.
#pragma once

#include "kernels/exponential.h"

namespace jadro {
namespace {

template <class T>
JADRO_INLINE Vec<T> vabs(Vec<T> v) {
  using Bits = typename ExpTraits<T>::Bits;
  return (Vec<T>)((Bits)v << 1 >> 1);
}

template <class T>
JADRO_INLINE Vec<T> operand(const Operand<T>& x, i64 i, i64 count) {
  return load_n(x.at + i * x.step, count);
}

// y = f(a, b); what is left behind the last whole vector goes through one of its own.
template <class T>
void arithmetic(Arithmetic f, Operand<T> a, Operand<T> b, T* y, i64 n) {
  constexpr i64 kN = kLanes<T>;
  const i64 whole = n / kN * kN;
  const auto map = [=](auto body) {
    for (i64 i = 0; i < whole; i += kN) store(y + i, body(operand(a, i, kN), operand(b, i, kN)));
  };
  switch (f) {
    case Arithmetic::kAdd:
      map([](Vec<T> u, Vec<T> v) { return u + v; });
      break;
    case Arithmetic::kSubtract:
      map([](Vec<T> u, Vec<T> v) { return u - v; });
      break;
    case Arithmetic::kMultiply:
      map([](Vec<T> u, Vec<T> v) { return u * v; });
      break;
    case Arithmetic::kDivide:
      map([](Vec<T> u, Vec<T> v) { return u / v; });
      break;
    case Arithmetic::kMaximum:
      map([](Vec<T> u, Vec<T> v) { return (u > v) | (u != u) ? u : v; });
      break;
    case Arithmetic::kMinimum:
      map([](Vec<T> u, Vec<T> v) { return (u < v) | (u != u) ? u : v; });
      break;
    case Arithmetic::kAbsolute:
      map([](Vec<T> u, Vec<T>) { return vabs<T>(u); });
      break;
    case Arithmetic::kNegative:
      map([](Vec<T> u, Vec<T>) { return -u; });
      break;
    case Arithmetic::kSqrt:
      map([](Vec<T> u, Vec<T>) { return vsqrt<T>(u); });
      break;
    case Arithmetic::kExp:
      map([](Vec<T> u, Vec<T>) { return vexp<T>(u); });
      break;
  }
  if (whole == n) return;
  const Vec<T> u = operand(a, whole, n - whole), v = operand(b, whole, n - whole);
  Vec<T> rest;
  arithmetic<T>(f, {(const T*)&u, 1}, {(const T*)&v, 1}, (T*)&rest, kN);
  store_part(y + whole, rest, n - whole);
}

// y = a where the mask is not 0, else b.
template <class T>
void select(const unsigned char* mask, Operand<T> a, Operand<T> b, T* y, i64 n) {
  typedef signed char Bytes __attribute__((vector_size(kLanes<T>)));
  map_vectors(y, n, false, [=](i64 i, i64 count) {
    Bytes chosen{};
    __builtin_memcpy(&chosen, mask + i, static_cast<std::size_t>(count));
    return __builtin_convertvector(chosen, VecInt<T>) != 0 ? operand(a, i, count) : operand(b, i, count);
  });
}

}  // namespace
}  // namespace jadro
