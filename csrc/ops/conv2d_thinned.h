// A convolution that meets only every so many cells of its rows, as with a kernel of one cell and a stride, or with a
// stride and a dilation that share a divisor: the convolution of those cells alone.
#pragma once

#include <algorithm>
#include <optional>

#include "core/kernel_table.h"

namespace jadro {

class Thinned {
 public:
  explicit Thinned(const Conv2d& s);

  bool is_empty() const { return shape_.d.in == 0 || shape_.h.in == 0 || shape_.w.in == 0; }
  i64 volume() const { return channels_ * depth_ * plane_.height * plane_.width; }  // cells of an image
  i64 cells(const Conv2d& part) const { return part.n * part.ic * part.d.in * part.h.in * part.w.in; }

  // f(shape of some images, number of the first), so many at a time that their cells stay near.
  template <class T, class F>
  void for_parts(F f) const {
    for (i64 first = 0; first < shape_.n; first += images<T>()) {
      Conv2d part = shape_;
      part.n = std::min(images<T>(), shape_.n - first);
      f(part, first);
    }
  }
  template <class T>
  i64 parts() const {
    return (shape_.n + images<T>() - 1) / images<T>();
  }

  template <class T>
  void take(const Conv2d& part, const T* x, T* cells) const;
  template <class T>
  void spread(const Conv2d& part, const T* cells, T* x) const;  // zeros between them

 private:
  static constexpr i64 kBytes = i64{8} << 20;
  template <class T>
  i64 images() const {
    Conv2d one = shape_;
    one.n = 1;
    return std::max<i64>(1, kBytes / std::max<i64>(1, cells(one) * static_cast<i64>(sizeof(T))));
  }

  Conv2d shape_;
  i64 channels_, depth_, first_d_, step_d_;
  ThinPlane plane_;
};

std::optional<Thinned> thinned(const Conv2d& s);

}  // namespace jadro
