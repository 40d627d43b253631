// The recurrent cells with options, forward and backward on vectors of units. As in rnn_cells.h, for gate k
// in[k] = W_k x + b_k and rec[k] = U_k h, behind layer norm where there is one; [v] is v bounded to the clip. Vectors
// are those of the simd.h that comes before.
#pragma once

#include <type_traits>

#include "core/kernel_table.h"

namespace jadro {
namespace {

template <class T>
JADRO_INLINE Vec<T> bounded(Vec<T> v, T limit) {
  v = v > limit ? broadcast(limit) : v;
  return v < -limit ? broadcast(-limit) : v;
}
// d where v is inside the bounds, or NaN.
template <class T>
JADRO_INLINE Vec<T> bounded_gradient(Vec<T> d, Vec<T> v, T limit) {
  d = v > limit ? Vec<T>{} : d;
  return v < -limit ? Vec<T>{} : d;
}
// Zoneout: the share `keep` of the old value.
template <class T>
JADRO_INLINE Vec<T> mixed(Vec<T> keep, Vec<T> old, Vec<T> made) {
  return keep * old + (T(1) - keep) * made;
}

template <class T>
JADRO_INLINE T first_lane(Vec<T> v) {
  if constexpr (std::is_same_v<Vec<T>, T>) {
    return v;
  } else {
    return v[0];
  }
}

// Bounds of the gates. A gate's value tells whether its sum was bounded; NaN, which nothing reaches, stands for no
// bound.
template <class T>
struct GateBounds {
  T clip{}, cell_clip{}, sigmoid_high{}, sigmoid_low{}, tanh_high{}, relu_high{};

  GateBounds() = default;
  JADRO_INLINE explicit GateBounds(const RnnOptions<T>& o) : clip(o.gate_clip), cell_clip(o.cell_clip) {
    const T none = static_cast<T>(__builtin_nan(""));
    sigmoid_high = sigmoid_low = tanh_high = relu_high = none;
    if (clip == static_cast<T>(__builtin_inf())) return;
    const T slack = (sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52)) * T(4);  // how far two evaluations may be apart
    sigmoid_high = first_lane<T>(vsigmoid<T>(broadcast(clip))) * (T(1) - slack);
    sigmoid_low = first_lane<T>(vsigmoid<T>(broadcast(-clip))) * (T(1) + slack);
    tanh_high = first_lane<T>(vtanh<T>(broadcast(clip))) * (T(1) - slack);
    relu_high = clip;
  }
  // The gradient of a gate's sum, from d, that of its value v.
  JADRO_INLINE Vec<T> sigmoid(Vec<T> v, Vec<T> d) const {
    d = d * v * (T(1) - v);
    d = v >= sigmoid_high ? Vec<T>{} : d;
    return v <= sigmoid_low ? Vec<T>{} : d;
  }
  JADRO_INLINE Vec<T> tanh(Vec<T> v, Vec<T> d) const {
    d = d * (T(1) - v * v);
    d = v >= tanh_high ? Vec<T>{} : d;
    return v <= -tanh_high ? Vec<T>{} : d;
  }
  JADRO_INLINE Vec<T> relu(Vec<T> v, Vec<T> d) const {
    d = v > T(0) ? d : Vec<T>{};
    return v >= relu_high ? Vec<T>{} : d;
  }
};

// The options of one vector of units: shares kept of the old state, factors of dropout, peepholes.
template <class T>
struct Extra {
  Vec<T> keep_h, keep_c, drop, p_i, p_f, p_o;
  bool peephole;
};

// h~ = [drop f([in + rec])]. Saves f.
template <class T, bool kRelu>
struct OptionRnn {
  using V = Vec<T>;
  static constexpr int kGates = 1, kSaved = 1, kGrads = 1;
  static constexpr bool kOptions = true, kHasCell = false, kRecurrentBias = false, kBefore = false;
  JADRO_DEVICE static constexpr int group(int) { return 0; }

  static JADRO_INLINE V forward(const V* in, const V* rec, V, const Extra<T>& e, const GateBounds<T>& b, V* saved) {
    const V a = bounded<T>(in[0] + rec[0], b.clip);
    if constexpr (kRelu) {
      saved[0] = a > T(0) || a != a ? a : V{};
    } else {
      saved[0] = vtanh<T>(a);
    }
    return bounded<T>(e.drop * saved[0], b.cell_clip);
  }
  static JADRO_INLINE void backward(const V* saved, V, V dh, const Extra<T>& e, const GateBounds<T>& b, V* da, V*) {
    const V f = saved[0], d = bounded_gradient<T>(dh, e.drop * f, b.cell_clip) * e.drop;
    da[0] = kRelu ? b.relu(f, d) : b.tanh(f, d);
  }
};

// r, z = s([in + rec]); n = tanh([in_n + r rec_n]), or with the reset before the product tanh([in_n + rec_n]), rec_n of
// r h; h~ = [(1 - z) drop n + z h]. Saves r z n and, reset after, m = rec_n; gradients r z m n, or r z n, where
// dr is the caller's.
template <class T, bool kResetBefore>
struct OptionGru {
  using V = Vec<T>;
  static constexpr int kGates = 3, kSaved = kResetBefore ? 3 : 4, kGrads = kSaved;
  static constexpr bool kOptions = true, kHasCell = false, kRecurrentBias = true, kBefore = kResetBefore;
  JADRO_DEVICE static constexpr int group(int gate) { return gate == 2; }

  static JADRO_INLINE void gates(const V* in, const V* rec, const GateBounds<T>& b, V* saved) {
    saved[0] = vsigmoid<T>(bounded<T>(in[0] + rec[0], b.clip));
    saved[1] = vsigmoid<T>(bounded<T>(in[1] + rec[1], b.clip));
  }
  static JADRO_INLINE V result(V in, V rec, V h, const Extra<T>& e, const GateBounds<T>& b, V* saved) {
    saved[2] = vtanh<T>(bounded<T>(kResetBefore ? in + rec : in + saved[0] * rec, b.clip));
    if constexpr (!kResetBefore) saved[3] = rec;
    const V n = e.drop * saved[2];
    return bounded<T>(n + saved[1] * (h - n), b.cell_clip);
  }
  static JADRO_INLINE V forward(const V* in, const V* rec, V h, const Extra<T>& e, const GateBounds<T>& b, V* saved) {
    gates(in, rec, b, saved);
    return result(in[2], rec[2], h, e, b, saved);
  }
  static JADRO_INLINE void backward(const V* saved, V h, V dh, const Extra<T>& e, const GateBounds<T>& b, V* da,
                                    V* dh_direct) {
    const V r = saved[0], z = saved[1], n = e.drop * saved[2];
    dh = bounded_gradient<T>(dh, n + z * (h - n), b.cell_clip);
    da[kGrads - 1] = b.tanh(saved[2], dh * (T(1) - z) * e.drop);
    da[1] = b.sigmoid(z, dh * (h - n));
    if constexpr (!kResetBefore) {
      da[2] = da[3] * r;
      da[0] = b.sigmoid(r, da[3] * saved[3]);
    } else {
      da[0] = V{};
    }
    *dh_direct += dh * z;
  }
};

// i = s([in + rec + p_i c]), f likewise or 1 - i, g = tanh([in + rec]); c~ = [f c + i drop g]; o = s([in + rec + p_o
// c~]). Saves i f g o, or i g o.
template <class T, bool kCoupled>
struct OptionLstm {
  using V = Vec<T>;
  static constexpr int kGates = kCoupled ? 3 : 4, kSaved = kGates, kGrads = kGates, kG = kGates - 2, kO = kGates - 1;
  static constexpr bool kOptions = true, kHasCell = true, kRecurrentBias = false, kBefore = false;
  JADRO_DEVICE static constexpr int group(int) { return 0; }

  static JADRO_INLINE V forget(const V* saved) {
    if constexpr (kCoupled) {
      return T(1) - saved[0];
    } else {
      return saved[1];
    }
  }
  // f c + i drop g
  static JADRO_INLINE V sum(const V* saved, V c, const Extra<T>& e) {
    return forget(saved) * c + saved[0] * (e.drop * saved[kG]);
  }
  // c~
  static JADRO_INLINE V forward(const V* a, V c, const Extra<T>& e, const GateBounds<T>& b, V* saved) {
    saved[0] = vsigmoid<T>(bounded<T>(e.peephole ? a[0] + e.p_i * c : a[0], b.clip));
    if constexpr (!kCoupled) saved[1] = vsigmoid<T>(bounded<T>(e.peephole ? a[1] + e.p_f * c : a[1], b.clip));
    saved[kG] = vtanh<T>(bounded<T>(a[kG], b.clip));
    const V c_new = bounded<T>(sum(saved, c, e), b.cell_clip);
    saved[kO] = vsigmoid<T>(bounded<T>(e.peephole ? a[kO] + e.p_o * c_new : a[kO], b.clip));
    return c_new;
  }
  // From dc, the gradient of the carried c, dc_shown, that of c~ by way of h, and da[kO]: the other gates, and dc of
  // the step before.
  static JADRO_INLINE V backward(const V* saved, V c, V dc_shown, V dc, const Extra<T>& e, const GateBounds<T>& b,
                                 V* da) {
    const V i = saved[0], g = e.drop * saved[kG];
    V dc_new = dc_shown + (T(1) - e.keep_c) * dc;
    if (e.peephole) dc_new += e.p_o * da[kO];
    dc_new = bounded_gradient<T>(dc_new, sum(saved, c, e), b.cell_clip);
    da[kG] = b.tanh(saved[kG], dc_new * i * e.drop);
    V before = e.keep_c * dc + dc_new * forget(saved);
    if constexpr (kCoupled) {
      da[0] = b.sigmoid(i, dc_new * (g - c));
    } else {
      da[0] = b.sigmoid(i, dc_new * g);
      da[1] = b.sigmoid(saved[1], dc_new * c);
      if (e.peephole) before += e.p_f * da[1];
    }
    return e.peephole ? before + e.p_i * da[0] : before;
  }
};

}  // namespace
}  // namespace jadro
