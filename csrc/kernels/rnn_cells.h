// The recurrent cells, each a forward and a backward on vectors of units; what is saved forward is what backward reads.
// Vec<T>, vtanh and squash are those that come before, of exponential.h or, vectors of one, of cuda/simd.h.
// Gates stand in PyTorch's order: i f g o (LSTM), r z n (GRU). For gate k: in[k] = W_k x + b_k (+ b'_k where it adds),
// rec[k] = U_k h.
#pragma once

namespace jadro {
namespace {

// h' = f(in + rec), f = tanh or relu. Saves nothing: backward needs h' alone.
template <class T, bool kRelu>
struct RnnCell {
  using V = Vec<T>;
  static constexpr int kGates = 1, kSaved = 0, kGrads = 1;
  static constexpr bool kOptions = false, kBefore = false, kHasCell = false, kRecurrentBias = false;

  static JADRO_INLINE void forward(const V* in, const V* rec, V, V, V* h_out, V*, V*) {
    const V a = in[0] + rec[0];
    if constexpr (kRelu) {
      *h_out = a > T(0) || a != a ? a : V{};
    } else {
      *h_out = vtanh<T>(a);
    }
  }
  // da = dh f'(a)
  static JADRO_INLINE void backward(const V*, V h_out, V, V, V, V dh, V*, V* da, V* dh_direct) {
    if constexpr (kRelu) {
      da[0] = h_out > T(0) ? dh : V{};
    } else {
      da[0] = dh * (T(1) - h_out * h_out);
    }
    *dh_direct = V{};
  }
};

// i, f, o = sigmoid, g = tanh; c' = f c + i g; h' = o tanh(c'). Saves i f g o.
template <class T>
struct LstmCell {
  using V = Vec<T>;
  static constexpr int kGates = 4, kSaved = 4, kGrads = 4, kO = 3;
  static constexpr bool kOptions = false, kBefore = false, kHasCell = true, kRecurrentBias = false;

  static JADRO_INLINE V next_cell(const V* in, const V* rec, V c, V* saved) {
    saved[0] = in[0] + rec[0], saved[1] = in[1] + rec[1];
    saved[2] = in[2] + rec[2], saved[3] = in[3] + rec[3];
    squash<T, 4, 2>(saved);
    return saved[1] * c + saved[0] * saved[2];
  }
  static JADRO_INLINE V shown(V o, V c) { return o * vtanh<T>(c); }
  static JADRO_INLINE void forward(const V* in, const V* rec, V, V c, V* h_out, V* c_out, V* saved) {
    *c_out = next_cell(in, rec, c, saved);
    *h_out = shown(saved[3], *c_out);
  }
  static JADRO_INLINE void backward(const V* saved, V, V, V c, V c_out, V dh, V* dc, V* da, V* dh_direct) {
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3];
    const V tanh_c = vtanh<T>(c_out);
    const V dc_out = *dc + dh * o * (T(1) - tanh_c * tanh_c);
    da[0] = dc_out * g * i * (T(1) - i);
    da[1] = dc_out * c * f * (T(1) - f);
    da[2] = dc_out * i * (T(1) - g * g);
    da[3] = dh * tanh_c * o * (T(1) - o);
    *dc = dc_out * f;
    *dh_direct = V{};
  }
};

// r, z = sigmoid; n = tanh(in_n + r (rec_n + b'_n)); h' = (1 - z) n + z h. Saves r z n m, m = rec_n + b'_n (already in
// rec). Gradients in the order r z m n: the first three are those of the recurrent product.
template <class T>
struct GruCell {
  using V = Vec<T>;
  static constexpr int kGates = 3, kSaved = 4, kGrads = 4;
  static constexpr bool kOptions = false, kBefore = false, kHasCell = false, kRecurrentBias = true;

  static JADRO_INLINE void forward(const V* in, const V* rec, V h, V, V* h_out, V*, V* saved) {
    saved[0] = in[0] + rec[0];
    saved[1] = in[1] + rec[1];
    squash<T, 2, -1>(saved);
    saved[2] = vtanh<T>(in[2] + saved[0] * rec[2]);
    saved[3] = rec[2];
    *h_out = saved[2] + saved[1] * (h - saved[2]);
  }
  static JADRO_INLINE void backward(const V* saved, V, V h, V, V, V dh, V*, V* da, V* dh_direct) {
    const V r = saved[0], z = saved[1], n = saved[2], m = saved[3];
    da[3] = dh * (T(1) - z) * (T(1) - n * n);
    da[2] = da[3] * r;
    da[1] = dh * (h - n) * z * (T(1) - z);
    da[0] = da[3] * m * r * (T(1) - r);
    *dh_direct = dh * z;
  }
};

}  // namespace
}  // namespace jadro
