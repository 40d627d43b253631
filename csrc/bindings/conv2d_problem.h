// What the two modules' bindings of convolution check about sizes and options.
#pragma once

#include "bindings/arrays.h"

namespace jadro {

// Each has one entry an axis: of depth, height and width, or of height and width.
struct Conv2dOptions {
  const Sizes& stride;
  const Sizes& padding;  // (before, after) of each axis
  const Sizes& dilation;
  i64 groups;
  const std::string& padding_mode;
};

inline PaddingMode padding_mode_of(const Call& call, const std::string& name) {
  if (name == "zeros") return PaddingMode::kZeros;
  if (name == "reflect") return PaddingMode::kReflect;
  if (name == "replicate") return PaddingMode::kReplicate;
  if (name != "circular") {
    call.value_error("padding_mode is '" + name + "', expected zeros, reflect, replicate or circular");
  }
  return PaddingMode::kCircular;
}

inline void check_padding(const Call& call, const char* name, const Conv2dAxis& a, PaddingMode mode) {
  if (mode == PaddingMode::kZeros) return;
  const i64 most = mode == PaddingMode::kReflect    ? a.in - 1
                   : mode == PaddingMode::kCircular ? a.in
                   : a.in > 0                       ? a.before + a.after
                                                    : 0;
  call.require(a.before >= 0 && a.after >= 0 && a.before <= most && a.after <= most, [&] {
    return std::string(name) + ": padding (" + std::to_string(a.before) + ", " + std::to_string(a.after) +
           ") of a size of " + std::to_string(a.in) + ", expected 0 to " + std::to_string(most) +
           " in this padding_mode";
  });
}

// out = floor((M + P + P' - D (K - 1) - 1) / S) + 1.
inline void set_output(const Call& call, const char* name, Conv2dAxis& a) {
  constexpr i64 kLargest = (i64{1} << 31) - 1;
  const auto within = [](i64 x, i64 least) { return x >= least && x <= kLargest; };
  call.require(within(a.kernel, 1) && within(a.stride, 1) && within(a.dilation, 1) && within(a.before, -kLargest) &&
                   within(a.after, -kLargest),
               [&] {
                 return std::string(name) + ": kernel " + std::to_string(a.kernel) + ", stride " +
                        std::to_string(a.stride) + ", dilation " + std::to_string(a.dilation) + ", padding (" +
                        std::to_string(a.before) + ", " + std::to_string(a.after) +
                        "), expected kernel, stride, dilation >= 1, and none of them beyond " +
                        std::to_string(kLargest);
               });
  const i64 span = a.dilation * (a.kernel - 1) + 1, padded = a.in + a.before + a.after;
  call.require(span <= padded, [&] {
    return std::string(name) + ": the kernel spans " + std::to_string(span) + " of a padded input of " +
           std::to_string(padded);
  });
  a.out = (padded - span) / a.stride + 1;
}

inline void set_channels(const Call& call, const Sizes& x, const std::string& x_name, const Sizes& w,
                         const std::string& w_name, Conv2d& s) {
  s.n = x[0], s.ic = x[1], s.oc = w[0];
  call.require(s.groups >= 1 && s.ic >= 1 && s.oc >= 1 && s.ic % s.groups == 0 && s.oc % s.groups == 0, [&] {
    return "groups is " + std::to_string(s.groups) + ", expected a divisor of " + std::to_string(s.ic) + " and " +
           std::to_string(s.oc) + " channels";
  });
  call.require(w[1] == s.ic / s.groups, [&] {
    return w_name + " has shape " + shape_text(w) + ", expected " + std::to_string(s.ic / s.groups) +
           " channels: " + x_name + " has " + std::to_string(s.ic) + " and groups is " + std::to_string(s.groups);
  });
}

// The problem of x[N,C,...] and w[F,C/groups,...], of two or three axes of space, and its arrays' shapes.
struct Conv2dProblem {
  i64 axes;
  Conv2d shape{};

  Conv2dProblem(const Call& call, const Sizes& x, const std::string& x_name, const Sizes& w, const std::string& w_name,
                const Conv2dOptions& o)
      : axes(static_cast<i64>(x.size()) - 2) {
    if (axes != 3) call.check_rank(x, x_name, 4);
    call.check_rank(w, w_name, axes + 2);
    const std::size_t count = static_cast<std::size_t>(axes);
    if (o.stride.size() != count || o.dilation.size() != count || o.padding.size() != 2 * count) {
      call.type_error("stride, padding and dilation have " + std::to_string(o.stride.size()) + ", " +
                      std::to_string(o.padding.size()) + " and " + std::to_string(o.dilation.size()) +
                      " entries, expected " + std::to_string(axes) + ", " + std::to_string(2 * axes) + " and " +
                      std::to_string(axes));
    }
    shape.groups = o.groups;
    set_channels(call, x, x_name, w, w_name, shape);
    shape.padding_mode = padding_mode_of(call, o.padding_mode);
    shape.d = {1, 1, 1, 1, 0, 0, 1};
    static constexpr const char* kNames[] = {"depth", "height", "width"};
    for (i64 i = 0; i < axes; ++i) {
      Conv2dAxis& a = i + 3 - axes == 0 ? shape.d : i + 3 - axes == 1 ? shape.h : shape.w;
      const char* name = kNames[i + 3 - axes];
      a = {x[i + 2], 0, w[i + 2], o.stride[i], o.padding[2 * i], o.padding[2 * i + 1], o.dilation[i]};
      set_output(call, name, a);
      check_padding(call, name, a, shape.padding_mode);
    }
  }
  Sizes x_shape() const { return with_space(shape.n, shape.ic, &Conv2dAxis::in); }
  Sizes w_shape() const { return with_space(shape.oc, shape.ic / shape.groups, &Conv2dAxis::kernel); }
  Sizes y_shape() const { return with_space(shape.n, shape.oc, &Conv2dAxis::out); }

 private:
  Sizes with_space(i64 n, i64 c, i64 Conv2dAxis::* size) const {
    if (axes == 2) return {n, c, shape.h.*size, shape.w.*size};
    return {n, c, shape.d.*size, shape.h.*size, shape.w.*size};
  }
};

}  // namespace jadro
