// Depthwise convolution with 3x3 kernels straight from the rows of the image: a row of the source is loaded once for
// all rows of a block that it reaches.
#pragma once

#include <type_traits>

#include "core/kernel_table.h"
#include "kernels/rectifier.h"

namespace jadro {
namespace {

// Taps that are K x K neighbours, or `apart` from each other, from (top, left) on seen from a cell's own place: the one
// at place[k] of a filter stands k-th of these in rows.
template <int K>
struct Square {
  static constexpr int kTaps = K * K;
  bool applies;
  i64 top = 0, left = 0, apart = 1, place[kTaps] = {}, tap[kTaps] = {};

  Square(const Conv2dPass& p, i64 most_apart)
      : applies(p.taps == kTaps && p.dst_step_h == 1 && p.dst_step_w == 1 && p.step_h == p.step_w) {
    if (!applies) return;
    top = min(p.tap_h[0], p.tap_h[kTaps - 1]), left = min(p.tap_w[0], p.tap_w[kTaps - 1]);
    apart = (max(p.tap_h[0], p.tap_h[kTaps - 1]) - top) / (K - 1);
    applies = apart >= 1 && apart <= most_apart;
    u64 found = 0;
    for (i64 t = 0; applies && t < kTaps; ++t) {
      const i64 h = (p.tap_h[t] - top) / apart, w = (p.tap_w[t] - left) / apart;
      if (h < 0 || h >= K || w < 0 || w >= K || top + h * apart != p.tap_h[t] || left + w * apart != p.tap_w[t])
        continue;
      place[h * K + w] = p.place[t], tap[h * K + w] = t;
      found |= u64{1} << (h * K + w);
    }
    applies = applies && found == (u64{1} << kTaps) - 1;
  }
};
// Rows of zeros are as long as three columns so far apart, or of stride 2.
template <class T>
struct ThreeByThree : Square<3> {
  explicit ThreeByThree(const Conv2dPass& p) : Square<3>(p, p.step_w == 1 ? kLanes<T> : 1) {}
};

template <class T>
alignas(64) constexpr T kZeroRow[4 * kLanes<T>] = {};

// Rows top, top + 1, ... of a plane from column x on; zeros outside it.
template <class T, int kRows>
class SourceRows {
 public:
  SourceRows(const Conv2dPass& p, const T* plane, i64 top) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const bool inside = static_cast<u64>(top + r) < static_cast<u64>(p.src_h);
      row_[r] = inside ? plane + (top + r) * p.src_w : kZeroRow<T>;
      columns_[r] = inside ? -1 : 0;
    }
  }
  JADRO_INLINE const T* operator()(int r, i64 x) const { return row_[r] + (x & columns_[r]); }

 private:
  const T* row_[kRows];
  i64 columns_[kRows];
};

// Three columns of a row, `apart` from each other, for a vector of cells, the first at column x: zero outside
// [0, width), and in cells beyond the first `lanes`.
template <class T, int kStep, bool kApart>
struct ThreeColumns {
  i64 x = 0, far = 1;
  bool whole = false;  // no lane is zero
  LaneMask<T> mask[3]{}, second[3]{};

  ThreeColumns() = default;
  ThreeColumns(i64 first, i64 columns_apart, i64 width, i64 lanes)
      : x(first),
        far(columns_apart),
        whole(first >= 0 && lanes == kLanes<T> && width - first >= 2 * apart() + kStep * kLanes<T>) {
    for (i64 c = 0; c < 3; ++c) {
      const i64 column = x + c * apart(), end = min(width - column, kStep * lanes);
      mask[c] = lanes_between<T>(-column, end);
      second[c] = lanes_between<T>(-column - kLanes<T>, end - kLanes<T>);
    }
  }
  JADRO_INLINE i64 apart() const { return kApart ? far : 1; }
  template <bool kWhole>
  JADRO_INLINE void load(const T* at, Vec<T>* cells) const {
    const auto lanes = [](const T* from, const LaneMask<T>& there) {
      return kWhole ? jadro::load(from) : load_lanes(from, there);
    };
    if constexpr (kStep == 1) {
#pragma GCC unroll 4
      for (int c = 0; c < 3; ++c) cells[c] = lanes(at + c * apart(), mask[c]);
    } else {
      const VecInt<T> even = 2 * lane_numbers<T>();
      const Vec<T> a = lanes(at, mask[0]), b = lanes(at + kLanes<T>, second[0]);
      cells[0] = __builtin_shuffle(a, b, even);
      cells[1] = __builtin_shuffle(a, b, even + 1);
      cells[2] = __builtin_shuffle(lanes(at + 2, mask[2]), lanes(at + 2 + kLanes<T>, second[2]), even);
    }
  }
};

// The columns of kVectors vectors of cells, from cell j on: the same for all rows and planes.
template <class T>
struct CellColumns {
  static constexpr i64 kVectors = 8;
  i64 begin = 0, end = 0;
  ThreeColumns<T, 1, false> vectors[kVectors];

  JADRO_INLINE void set(const Conv2dPass& p, i64 left, i64 j) {
    if (j == begin && end > 0) return;
    begin = j, end = min(p.grid_w, j + kVectors * kLanes<T>);
    for_vectors<T>(end - j, [&](i64 i, i64 lanes) { vectors[i / kLanes<T>] = {j + i + left, 1, p.src_w, lanes}; });
  }
};

// Results of one plane, number `item` of (image, channel), through the epilogue.
template <class T>
class PlaneStore {
 public:
  PlaneStore(const Conv2dProduct<T>& a, i64 item, i64 channel)
      : bias_(a.epilogue.bias ? a.epilogue.bias[channel] : T(0)),
        scale_(a.epilogue.scale ? a.epilogue.scale[channel] : T(1)),
        add_(a.epilogue.add ? a.epilogue.add + item * a.pass.dst_plane() : nullptr),
        rectifier_(a.epilogue.rectifier),
        channel_(channel),
        dst_(a.dst + item * a.pass.dst_plane()) {}
  JADRO_INLINE T* at(i64 pixel) const { return dst_ + pixel; }
  JADRO_INLINE void operator()(i64 pixel, Vec<T> v, i64 count) const {
    v = v * scale_ + bias_;
    if (add_) v += load_n(add_ + pixel, count);
    v = rectified(rectifier_, channel_, v);
    count == kLanes<T> ? store(dst_ + pixel, v) : store_rest(dst_ + pixel, v, count);
  }

 private:
  // Of rows shorter than a vector, and what lies outside a block: not worth a copy of it at each call.
  __attribute__((noinline)) static void store_rest(T* to, Vec<T> v, i64 count) { store_part(to, v, count); }

  T bias_, scale_;
  const T* add_;
  const Rectifier<T> rectifier_;
  i64 channel_;
  T* dst_;
};

// Asks for what a vector of cells will need of the next kRows rows.
template <int kRows, bool kWrite, class T>
JADRO_INLINE void touch_rows(const T* at, i64 pitch) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(at + r * pitch, kWrite);
}

// The rows of a source from `first` on, as far apart as the columns, zeros outside it, for a vector of columns. Each
// asks for the row `below` rows further down.
template <class T, int kStep, bool kApart, bool kWhole>
class RowsDown {
 public:
  RowsDown(const Conv2dPass& p, const ThreeColumns<T, kStep, kApart>& columns, const T* plane, i64 first, i64 below)
      : columns_(columns),
        at_(plane + first * p.src_w + columns.x),
        row_(first),
        width_(p.src_w),
        height_(p.src_h),
        below_(below * p.src_w) {}
  // f(c, cells) of the next row, column by column
  template <class F>
  JADRO_INLINE void next(F f) {
    Vec<T> x[3];
    __builtin_prefetch(at_ + below_);
    columns_.template load<kWhole>(static_cast<u64>(row_) < static_cast<u64>(height_) ? at_ : kZeroRow<T>, x);
    at_ += columns_.apart() * width_, row_ += columns_.apart();
#pragma GCC unroll 4
    for (int c = 0; c < 3; ++c) f(c, x[c]);
  }

 private:
  const ThreeColumns<T, kStep, kApart> columns_;
  const T* at_;
  i64 row_;
  const i64 width_, height_, below_;
};

// put(sums) of `rows` rows of cells, one after the other. A row of the source is loaded once.
template <class T, int kStep, bool kApart, bool kWhole, class Put>
JADRO_INLINE void cells_down(RowsDown<T, kStep, kApart, kWhole> source, i64 rows, const Vec<T>* taps, Put put) {
  Vec<T> tap[9];
#pragma GCC unroll 16
  for (int k = 0; k < 9; ++k) tap[k] = taps[k];
  if constexpr (kStep == 1) {
    // Row r of the source begins row r of cells, goes on with r - 1 and ends r - 2.
    Vec<T> sums[3] = {};
    const auto step = [&](Vec<T>& ends, Vec<T>& goes_on, Vec<T>& begins) {
      begins = Vec<T>{};
      source.next([&](int c, Vec<T> x) {
        ends += tap[6 + c] * x;
        goes_on += tap[3 + c] * x;
        begins += tap[c] * x;
      });
    };
    step(sums[1], sums[2], sums[0]);
    step(sums[2], sums[0], sums[1]);
    for (i64 q = 0;;) {
      step(sums[0], sums[1], sums[2]);
      put(sums[0]);
      if (++q == rows) break;
      step(sums[1], sums[2], sums[0]);
      put(sums[1]);
      if (++q == rows) break;
      step(sums[2], sums[0], sums[1]);
      put(sums[2]);
      if (++q == rows) break;
    }
  } else {
    Vec<T> next{};
    source.next([&](int c, Vec<T> x) { next += tap[c] * x; });
    for (i64 q = 0; q < rows; ++q) {
      Vec<T> sum = next;
      next = Vec<T>{};
      source.next([&](int c, Vec<T> x) { sum += tap[3 + c] * x; });
      source.next([&](int c, Vec<T> x) {
        sum += tap[6 + c] * x;
        next += tap[c] * x;
      });
      put(sum);
    }
  }
}

// Rows of a block: as many as stay in the first-level cache, and of one height.
JADRO_INLINE i64 block_rows(i64 height, i64 width) {
  constexpr i64 kCells = 2048, kRows = 16;
  return ceil_div(height, ceil_div(height, max(kRows, kCells / width)));
}

// The planes [items] of (image, channel); one channel comes into each group. The last vector of a row reaches back over
// the one before. Of taps apart, every so many rows are a plane of neighbours.
template <class T, int kStep, bool kApart>
void three_by_three(const Conv2dProduct<T>& a, const ThreeByThree<T>& three, Range items) {
  const Conv2dPass& p = a.pass;
  const i64 channels = p.groups * p.out, height = p.grid_h, width = p.dst_w;
  const i64 lanes = min(i64{kLanes<T>}, width);
  const i64 block = block_rows(height, width), apart = kApart ? three.apart : 1;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % channels;
    const T* const plane = a.src + item / p.out * p.src_h * p.src_w;
    const PlaneStore<T> put(a, item, channel);
    Vec<T> tap[9];
    for (int k = 0; k < 9; ++k) tap[k] = broadcast(a.w[channel * p.w_out + three.place[k]]);
    const auto rows_from = [&](i64 first, i64 end) {
      const i64 rows = ceil_div(end - first, apart);
      for (i64 j = 0; j < width; j += kLanes<T>) {
        const i64 x = min(j, width - lanes);
        const ThreeColumns<T, kStep, kApart> columns(x * kStep + three.left, apart, p.src_w, lanes);
        i64 pixel = first * width + x;
        const auto down = [&](auto kWhole) {
          const RowsDown<T, kStep, kApart, kWhole.value> source(p, columns, plane, first * kStep + three.top,
                                                                kStep * block);
          cells_down(source, rows, tap, [&](Vec<T> sum) {
            __builtin_prefetch(put.at(pixel + block * width), 1);
            put(pixel, sum, lanes);
            pixel += apart * width;
          });
        };
        columns.whole ? down(std::true_type{}) : down(std::false_type{});
      }
    };
    for (i64 i = 0; i < height; i += block) {
      const i64 end = min(i + block, height);
      for (i64 first = i; first < min(i + apart, end); ++first) rows_from(first, end);
    }
  }
}
template <class T>
void three_by_three(const Conv2dProduct<T>& a, const ThreeByThree<T>& three, Range items) {
  const auto f = a.pass.step_w == 2 ? three_by_three<T, 2, false>
                 : three.apart == 1 ? three_by_three<T, 1, false>
                                    : three_by_three<T, 1, true>;
  f(a, three, items);
}

// --- the gradient of the data, stride 2 ------------------------------------------------------------------------------

// Of the two phases of an axis one is reached by a single tap, the other by two, from neighbouring cells.
// place[row][column] are those of the single (0) or the double (1) phase of rows and of columns.
struct StridedThreeByThree {
  i64 top, left, single_row, single_column;  // phases
  i64 row_of_single = 0, column_of_single = 0;
  i64 place[2][2][4] = {};  // of the tap that meets cell (top + k / 2, left + k % 2)

  // The phases (0, 0) (0, 1) (1, 0) (1, 1) of rows and columns.
  template <class T>
  explicit StridedThreeByThree(const Conv2dProduct<T>* phases)
      : top(phases[0].pass.tap_h[0]),
        left(phases[0].pass.tap_w[0]),
        single_row(phases[0].pass.taps < phases[2].pass.taps ? 0 : 1),
        single_column(phases[0].pass.taps < phases[1].pass.taps ? 0 : 1) {
    for (int f = 0; f < 4; ++f) {
      const Conv2dPass& p = phases[f].pass;
      for (i64 t = 0; t < p.taps; ++t) top = min(top, p.tap_h[t]), left = min(left, p.tap_w[t]);
    }
    for (int f = 0; f < 4; ++f) {
      const Conv2dPass& p = phases[f].pass;
      const i64 row = f / 2 != single_row, column = f % 2 != single_column;
      for (i64 t = 0; t < p.taps; ++t) {
        const i64 h = p.tap_h[t] - top, w = p.tap_w[t] - left;
        place[row][column][2 * h + w] = p.place[t];
        if (row == 0) row_of_single = h;
        if (column == 0) column_of_single = w;
      }
    }
  }
};

// The planes [items] of (image, channel) from the four phases.
template <class T>
void strided_three_by_three(const Conv2dProduct<T>* phases, Range items) {
  constexpr int kN = kLanes<T>, kBlock = 4;
  const Conv2dProduct<T>& a = phases[0];
  const Conv2dPass& p = a.pass;
  const StridedThreeByThree three(phases);
  const i64 channels = p.groups * p.out, src_w = p.src_w, height = p.dst_h, width = p.dst_w;
  const bool lower = three.row_of_single, right = three.column_of_single;
  const VecInt<T> odd = lane_numbers<T>() & 1, second = three.single_column ? 1 - odd : odd;
  const VecInt<T> low = lane_numbers<T>() / 2 + second * kN, high = low + kN / 2;
  CellColumns<T> columns;
  for (i64 item = items.begin; item < items.end; ++item) {
    const i64 channel = item % channels;
    const T* const plane = a.src + (p.out == 1 ? item : item / p.out) * p.src_h * src_w;
    const PlaneStore<T> put(a, item, channel);
    Vec<T> tap[2][2][4];
    for (int k = 0; k < 16; ++k) {
      tap[k / 8][k / 4 % 2][k % 4] = broadcast(a.w[channel * p.w_out + three.place[k / 8][k / 4 % 2][k % 4]]);
    }
    const Vec<T>* const once = tap[0][0] + 2 * lower + right;
    const Vec<T>* const across = tap[0][1] + 2 * lower;
    const Vec<T>* const down = tap[1][0] + right;
    const Vec<T>* const all = tap[1][1];
    for (i64 j = 0; j < p.grid_w; j = columns.end) {
      columns.set(p, three.left, j);
      for (i64 i = 0; i < p.grid_h; i += kBlock) {
        const SourceRows<T, kBlock + 1> rows(p, plane, i + three.top);
        for_vectors<T>(columns.end - j, [&](i64 x, i64) {
          const i64 at = 2 * i * width + 2 * (j + x), lanes = width - 2 * (j + x);
          touch_rows<kBlock, false>(plane + (i + kBlock + 1) * src_w + j + x, src_w);
          touch_rows<2 * kBlock, true>(put.at(at + 2 * kBlock * width), width);
          const ThreeColumns<T, 1, false>& c = columns.vectors[x / kN];
          const auto load_row = [&](int r, Vec<T>* cells) {
            for (int k = 0; k < 2; ++k) cells[k] = load_lanes(rows(r, c.x) + k, c.mask[k]);
          };
          Vec<T> above[2], below[2];
          load_row(0, above);
          for (int q = 0; q < kBlock; ++q) {
            load_row(q + 1, below);
            const Vec<T>* const row = lower ? below : above;
            const Vec<T> alone[2] = {above[right], below[right]};
            const Vec<T> outputs[2][2] = {
                {once[0] * row[right], across[0] * row[0] + across[1] * row[1]},
                {down[0] * alone[0] + down[2] * alone[1],
                 all[0] * above[0] + all[1] * above[1] + all[2] * below[0] + all[3] * below[1]}};
            for (int phase = 0; phase < 2; ++phase) {
              const Vec<T>* const out = outputs[phase != three.single_row];
              const i64 to = at + (2 * q + phase) * width, count = 2 * (i + q) + phase < height ? lanes : 0;
              put(to, __builtin_shuffle(out[0], out[1], low), min(i64{kN}, count));
              if (count > kN) put(to + kN, __builtin_shuffle(out[0], out[1], high), min(i64{kN}, count - kN));
            }
            above[0] = below[0], above[1] = below[1];
          }
        });
      }
    }
  }
}

// --- the gradient of the weight --------------------------------------------------------------------------------------

// sums[k] += the products of `rows` rows of dy, from `dy` on and `pitch` apart, with x a tap on; that `below` is asked
// for.
template <class T, int kStep, bool kApart, bool kWhole>
JADRO_INLINE void products_down(RowsDown<T, kStep, kApart, kWhole> source, i64 rows, const T* dy, i64 pitch, i64 below,
                                LaneMask<T> there, Vec<T>* sums) {
  Vec<T> acc[9];
#pragma GCC unroll 16
  for (int k = 0; k < 9; ++k) acc[k] = sums[k];
  const auto next = [&] {
    const T* const at = dy;
    dy += pitch;
    __builtin_prefetch(at + below);
    return kWhole ? load(at) : load_lanes(at, there);
  };
  // Row r of the source meets row r of dy by the first row of taps, r - 1 by the second, r - 2 by the third.
  const auto meet = [&](auto kFirst, auto kSecond, auto kThird, Vec<T> a, Vec<T> b, Vec<T> c) {
    source.next([&](int k, Vec<T> x) {
      if (kFirst.value) acc[k] += a * x;
      if (kSecond.value) acc[3 + k] += b * x;
      if (kThird.value) acc[6 + k] += c * x;
    });
  };
  constexpr std::true_type yes{};
  constexpr std::false_type no{};
  Vec<T> d = next(), before{}, last{};
  if constexpr (kStep == 1) {
    meet(yes, no, no, d, before, last);
    if (rows > 1) {
      before = d, d = next();
      meet(yes, yes, no, d, before, last);
      for (i64 q = 2; q < rows; ++q) {
        last = before, before = d, d = next();
        meet(yes, yes, yes, d, before, last);
      }
      meet(no, yes, yes, d, d, before);
    } else {
      meet(no, yes, no, d, d, before);
    }
    meet(no, no, yes, d, d, d);
  } else {
    meet(yes, no, no, d, d, d);
    for (i64 q = 1; q < rows; ++q) {
      meet(no, yes, no, d, d, d);
      before = d, d = next();
      meet(yes, no, yes, d, d, before);
    }
    meet(no, yes, no, d, d, d);
    meet(no, no, yes, d, d, d);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 9; ++k) sums[k] = acc[k];
}

// sums[k] += the products of dy with x a tap on, over all cells of the grid.
template <class T, int kStep, bool kApart>
void three_by_three_products(const Conv2dPass& p, const ThreeByThree<T>& three, const T* plane, const T* dy,
                             Vec<T>* sums) {
  const i64 height = p.grid_h, width = p.grid_w, block = block_rows(height, width);
  const i64 apart = kApart ? three.apart : 1;
  for (i64 i = 0; i < height; i += block) {
    for_vectors<T>(width, [&](i64 j, i64 lanes) {
      const ThreeColumns<T, kStep, kApart> columns(j * kStep + three.left, apart, p.src_w, lanes);
      for (i64 first = i; first < min(i + apart, height); ++first) {
        const auto down = [&](auto kWhole) {
          const RowsDown<T, kStep, kApart, kWhole.value> source(p, columns, plane, first * kStep + three.top,
                                                                kStep * block);
          products_down(source, ceil_div(min(i + block, height) - first, apart), dy + first * width + j, apart * width,
                        block * width, lanes_between<T>(0, lanes), sums);
        };
        columns.whole ? down(std::true_type{}) : down(std::false_type{});
      }
    });
  }
}

template <class T>
void three_by_three_products(const Conv2dPass& p, const ThreeByThree<T>& three, const T* plane, const T* dy,
                             Vec<T>* sums) {
  const auto f = p.step_w == 2      ? three_by_three_products<T, 2, false>
                 : three.apart == 1 ? three_by_three_products<T, 1, false>
                                    : three_by_three_products<T, 1, true>;
  f(p, three, plane, dy, sums);
}

}  // namespace
}  // namespace jadro
