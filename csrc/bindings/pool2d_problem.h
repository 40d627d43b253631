// What the two modules' bindings of max pooling check about sizes.
#pragma once

#include "bindings/arrays.h"

namespace jadro {

// Elements of all axes behind batch and channels: less than 2^31, so that an index of 32 bits finds each.
inline i64 volume(const Call& call, const char* argument, const Sizes& shape) {
  i64 size = 1;
  for (std::size_t a = 2; a < shape.size(); ++a) {
    call.require(shape[a] == 0 || size <= INT32_MAX / shape[a], [&] {
      return std::string(argument) + " has shape " + shape_text(shape) + ", expected planes below 2^31";
    });
    size *= shape[a];
  }
  return size;
}

// Batch, channels and two axes of an image or three of a volume.
inline void check_rank(const Call& call, const char* argument, const Sizes& shape) {
  call.require(shape.size() == 4 || shape.size() == 5, [&] {
    return std::string(argument) + " has shape " + shape_text(shape) + ", expected 4 or 5 dimensions";
  });
}

// floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1
inline i64 output_size(const Call& call, const char* axis, i64 size, i64 padding, i64 kernel, i64 stride,
                       i64 dilation) {
  const i64 window = dilation * (kernel - 1) + 1;
  call.require(size + padding >= window, [&] {
    return std::string("x has ") + axis + " " + std::to_string(size) + " and padding " + std::to_string(padding) +
           ", expected at least the window, " + std::to_string(window);
  });
  return (size + padding - window) / stride + 1;
}

// The options of windows over `axes` axes; padding has (before, after) of each.
inline void check_windows(const Call& call, std::size_t axes, const Sizes& kernel, const Sizes& stride,
                          const Sizes& padding, const Sizes& dilation) {
  call.check_sizes(kernel, "kernel", axes, 1);
  call.check_sizes(stride, "stride", axes, 1);
  call.check_sizes(padding, "padding", 2 * axes, 0);
  call.check_sizes(dilation, "dilation", axes, 1);
}

inline const char* axis_name(std::size_t axis, std::size_t axes) {
  return axis + 1 == axes ? "width" : axis + 2 == axes ? "height" : "depth";
}

// x and y of adaptive pooling.
inline void check_adaptive(const Call& call, const Sizes& shape, const Sizes& given) {
  check_rank(call, "x", shape);
  call.require(given.size() == shape.size() && given[0] == shape[0] && given[1] == shape[1], [&] {
    return "y has shape " + shape_text(given) + ", expected batch and channels as x has, " + shape_text(shape);
  });
  call.require(volume(call, "x", shape) > 0 && volume(call, "y", given) > 0, [&] {
    return "x has shape " + shape_text(shape) + " and y " + shape_text(given) + ", expected no empty axis behind C";
  });
}

}  // namespace jadro
