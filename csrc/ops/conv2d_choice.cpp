#include "ops/conv2d_choice.h"

#include <algorithm>
#include <limits>

#include "core/cpu.h"

namespace jadro {
namespace {

// Costs in cycles of one core, a multiply-add of vectors each. The constants of the products are a least-squares fit to
// the times of 240 drawn layers of 1 to 512 channels, 4 to 112 pixels a side and kernels up to 7x7 (median error 12 %;
// the pick is on the average 1 % slower than the fastest) and of 150 for Winograd, those of the gradients of the weight
// to 130.

double vectors(double n, double lanes) { return static_cast<double>(static_cast<i64>((n + lanes - 1) / lanes)); }

i64 reach(const i64* taps, i64 count, i64 step) {
  const auto [least, most] = std::minmax_element(taps, taps + count);
  return count ? (*most - *least) / step : 0;
}

// Cells of an image and what a kernel reaches between its rows and planes.
double run_length(const Conv2dPass& p) {
  const i64 rows = (p.grid_d - 1) * (p.grid_h + reach(p.tap_h, p.taps, p.step_h)) + p.grid_h;
  return static_cast<double>(rows * (p.grid_w + reach(p.tap_w, p.taps, p.step_w)));
}

// Vectors of the planes that a product copies: all but those that are read in place.
double plane_vectors(const Conv2dPass& p, double lanes) {
  const i64 high = p.reach_h.end - p.reach_h.begin + 1, wide = p.reach_w.end - p.reach_w.begin + 1;
  if (p.taps == 1 && p.step_h == 1 && p.step_w == 1) return 0;
  const i64 rows = p.grid_h * std::min(p.step_h, high) + high;
  return p.in * p.n * p.grid_d * p.depths * rows * std::min(p.step_w, wide) *
         vectors(p.grid_w + (wide - 1) / p.step_w, lanes);
}

struct Sizes {
  // columns: vectors of cells; rows: of cells, row by row; tails: rows that end with a tile too small to be stored by
  // the microkernel; run: vectors of each image with what lies between its rows
  double lanes, in, out, depth, cells, columns, rows, tails, run;
  double planes;  // vectors of the copied planes
  template <class T>
  static Sizes of(const Conv2dPass& p) {
    const double lanes = kernels_of<T>().lanes, cells = p.cells(), lines = p.n * p.grid_d * p.grid_h;
    const i64 tile = kernels_of<T>().tile_columns, rest = p.grid_w % tile;
    const bool tail = rest > 0 && (p.grid_w < tile || 2 * rest <= tile);
    return {lanes,
            double(p.in),
            double(p.out),
            double(p.depth()),
            cells,
            vectors(cells, lanes),
            lines * vectors(p.grid_w, lanes),
            tail ? lines : 0,
            p.n * vectors(run_length(p), lanes),
            plane_vectors(p, lanes)};
  }
};

// Of a filter's element: to pack it, and to fetch it where filters leave the second-level cache.
double element_cost(const Sizes& s, double near, double bytes) {
  return s.depth * s.out * bytes > 8e6 ? near + 1 : near;
}

double direct_product(const Sizes& s, double bytes) {
  return s.depth * (s.rows * (1.5 * s.out + 1.8) + (0.5 * s.tails + element_cost(s, 1.0, bytes)) * s.out) +
         14 * s.tails * s.out + 24 * s.planes;
}
// The same with cells as rows of the product and outgoing channels as its columns: tiles of `tile` cells of a row at
// most, by two vectors of channels or by one; each row costs the broadcast of a cell, and few cells the latency of
// sums.
double turned_product(const Conv2dPass& p, const Sizes& s, double tile, double bytes) {
  const double across = vectors(p.grid_w, tile), cells = p.grid_w / across;
  const double tiles = across * (p.n * p.grid_d * p.grid_h), out = vectors(s.out, s.lanes), pairs = vectors(out - 1, 2);
  const double single = out - 2 * pairs;
  const double pair_cost = std::max({2 * cells, cells + 3, 8.0}), single_cost = std::max(cells + 2, 8.0);
  return tiles * (1.4 * s.depth * (pairs * pair_cost + single * single_cost) + 470 * (pairs + single)) + 24 * s.planes +
         s.depth * element_cost(s, 1.0, bytes) * s.out;
}
double depthwise_product(const Sizes& s) { return s.run * (s.out * (2.7 * s.depth + 5.5) + 7 * s.in); }
double depthwise_weight(const Sizes& s) { return s.run * (s.out * (2.2 * s.depth + 4) + 5 * s.in); }
double im2col_product(const Sizes& s, double bytes) {
  return s.depth * (1.3 * s.columns * s.out + 12.9 * s.rows + element_cost(s, 0.75, bytes) * s.out) + 24 * s.planes;
}
double im2col_weight(const Sizes& s) {
  const double width = vectors(s.depth, s.lanes);
  return s.cells * (width * (1.15 * s.out + 10.7) + 6.8 * vectors(s.out, s.lanes)) + 9.9 * s.out * width;
}

double points(const Winograd& w) { return static_cast<double>((w.m + w.r - 1) * (w.m + w.r - 1)); }  // of a tile

// What a vector of transformed filters costs beyond the transform where they leave the second-level cache, or all
// caches (`far`).
double filter_cost(const Winograd& w, double filters, const Sizes& s, double element, double near, double far) {
  const double bytes = points(w) * filters * s.lanes * element;
  return bytes > 8e6 ? far : bytes > 3e6 ? near : 0;
}
double winograd_product(const Winograd& w, const Sizes& s, double element) {
  const double channels = w.pass.in, in = vectors(channels, s.lanes), out = vectors(s.out, s.lanes);
  const double tiles = w.tiles(), filters = channels * out, transform = w.stride == 1 ? 17.7 : 68;
  const double load = 31 + (w.pass.dst_step_w > 1 ? 6.0 * (w.pass.w_taps - w.pass.taps) : 0);  // of the taps of a phase
  return 2e4 + points(w) * (1.5 * std::max(tiles, 8.0) * filters + tiles * (transform * in + 17.4 * out) +
                            filters * (load + filter_cost(w, filters, s, element, 8, 11)));
}
double winograd_weight(const Winograd& w, const Sizes& s, double element) {
  const double channels = w.pass.in, in = 2 * vectors(channels, 2 * s.lanes), tiles = w.tiles(), filters = s.out * in;
  const double transform = w.stride == 1 ? 8.2 : 82;
  return points(w) *
         (1.4 * tiles * filters + tiles * (transform * vectors(channels, s.lanes) + 8.2 * vectors(s.out, s.lanes)) +
          filters * (9.9 + filter_cost(w, filters, s, element, 10, 24)));
}

// A plane at a time: always where it is read in place, else where a group's planes stay in the second-level cache and
// the engine would multiply few rows.
template <class T>
bool depthwise_pays(const Conv2dPass& p, double cost, double engine) {
  if (p.groups > 1 && conv2d_by_rows(p)) return true;
  return p.groups > 1 && cost < engine && kernels_of<T>().conv2d_depthwise_scratch(p) < kDepthwiseElements;
}

// F(4x4) where Winograd is asked for by name, but no tiles larger than the image; im2col for what it does not serve, as
// the smaller phases of the gradient of a stride.
Conv2dChoice forced(const Conv2dPass& p, Conv2dAlgorithm algorithm, bool depthwise, i64 lanes) {
  if (algorithm != Conv2dAlgorithm::kWinograd) {
    return {algorithm, depthwise && algorithm == Conv2dAlgorithm::kDirect, {}};
  }
  const bool small = p.grid_h <= 2 && p.grid_w <= 2;
  for (i64 m : {small ? 2 : 4, small ? 4 : 2}) {
    if (const std::optional<Winograd> w = winograd_shape(p, m, lanes)) return {algorithm, false, *w};
  }
  return {Conv2dAlgorithm::kIm2col, false, {}};
}

// `choice` or the Winograd form that costs less than it.
template <class T, class Cost>
Conv2dChoice with_winograd(const Conv2dPass& p, Conv2dChoice choice, double least, Cost cost) {
  for (i64 m : {2, 4}) {
    const std::optional<Winograd> w = winograd_shape(p, m, kernels_of<T>().lanes);
    if (!w || cost(*w) >= least) continue;
    least = cost(*w);
    choice = {Conv2dAlgorithm::kWinograd, false, *w, false, least};
  }
  return choice;
}

}  // namespace

const char* Conv2dChoice::name() const {
  switch (algorithm) {
    case Conv2dAlgorithm::kDirect:
      return depthwise ? "depthwise" : "direct";
    case Conv2dAlgorithm::kWinograd:
      return winograd.m == 2 ? "winograd 2x2" : "winograd 4x4";
    default:
      return "im2col";
  }
}

bool conv2d_by_rows(const Conv2dPass& p) {
  return p.in == 1 && p.padding_mode == PaddingMode::kZeros && p.src_d == 1 && p.dst_d == 1 && p.depths == 1 &&
         p.tap_d[0] == 0 && p.step_w <= 2 && p.dst_step_w <= 2;
}

std::optional<Winograd> winograd_shape(const Conv2dPass& p, i64 m, i64 lanes) {
  const i64 taps = p.depths > 0 ? p.taps / p.depths : 0, last = taps - 1;  // of one depth: those of all are alike
  i64 size = 2;
  while (size * size < taps) ++size;
  const bool strided = p.step_h == 2 && p.step_w == 2, apart = p.dst_step_h == 2 && p.dst_step_w == 2;
  const bool together = p.dst_step_h == 1 && p.dst_step_w == 1 && p.w_taps == p.taps;
  const bool image = p.depths == 1 && p.src_d == 1 && p.dst_d == 1 && p.tap_d[0] == 0;
  if (size * size != taps || !(strided || (p.step_h == 1 && p.step_w == 1)) || !(apart || together)) return {};
  if (p.dst_step_d != 1 || (strided && size < 3) || ((strided || apart) && !image)) return {};
  const i64 r = strided ? (size + 1) / 2 : size;
  if (!(r == 3 || (r == 5 && m == 2) || (r == 2 && m == 4))) return {};
  const i64 sign = p.tap_w[1] - p.tap_w[0];
  if (sign != 1 && sign != -1) return {};
  for (i64 t = 0; t < taps; ++t) {
    if (p.tap_h[t] != p.tap_h[0] + sign * (t / size) || p.tap_w[t] != p.tap_w[0] + sign * (t % size)) return {};
  }
  Winograd s{};
  s.pass = p;
  s.pass.n *= p.dst_d, s.pass.in *= p.depths;
  s.pass.src_d = s.pass.grid_d = s.pass.dst_d = s.pass.step_d = 1;
  s.depths = p.depths, s.step_d = p.step_d, s.src_d = p.src_d, s.dst_d = p.dst_d, s.tap_d = p.tap_d;
  s.m = m;
  s.r = r;
  s.stride = strided ? 2 : 1, s.channels = s.pass.in;
  if (strided) s.pass.in = 4 * ((s.channels + lanes - 1) / lanes) * lanes;
  s.flipped = sign < 0;
  s.top = std::min(p.tap_h[0], p.tap_h[last]);
  s.left = std::min(p.tap_w[0], p.tap_w[last]);
  s.tiles_h = (p.grid_h + m - 1) / m;
  s.tiles_w = (p.grid_w + m - 1) / m;
  return s;
}

template <class T>
Conv2dChoice choose_product(const Conv2dPass& p, Conv2dAlgorithm algorithm, bool winograd) {
  const Sizes s = Sizes::of<T>(p);
  // Cells as rows must be neighbours where they are stored; where they are read in place, packing them costs less.
  const bool apart = p.dst_step_w > 1 || s.planes == 0;
  const double never = std::numeric_limits<double>::infinity();
  const double direct = direct_product(s, sizeof(T)), im2col = im2col_product(s, sizeof(T)),
               turned = apart ? never : turned_product(p, s, kernels_of<T>().tile_rows, sizeof(T));
  const double least = std::min({direct, turned, im2col});
  const bool depthwise = depthwise_pays<T>(p, depthwise_product(s), least);
  if (algorithm != Conv2dAlgorithm::kAuto) {
    Conv2dChoice choice = forced(p, algorithm, depthwise, kernels_of<T>().lanes);
    choice.cells_are_rows = algorithm == Conv2dAlgorithm::kDirect && turned < direct;
    return choice;
  }
  if (depthwise) return {Conv2dAlgorithm::kDirect, true, {}};
  const Conv2dChoice engine{
      least == im2col ? Conv2dAlgorithm::kIm2col : Conv2dAlgorithm::kDirect, false, {}, turned == least, least};
  if (!winograd) return engine;
  return with_winograd<T>(p, engine, least, [&](const Winograd& w) { return winograd_product(w, s, sizeof(T)); });
}

template <class T>
Conv2dChoice choose_weight(const Conv2dPass& p, Conv2dAlgorithm algorithm) {
  const Sizes s = Sizes::of<T>(p);
  const bool depthwise = depthwise_pays<T>(p, depthwise_weight(s), im2col_weight(s));
  if (algorithm != Conv2dAlgorithm::kAuto) return forced(p, algorithm, depthwise, kernels_of<T>().lanes);
  if (depthwise) return {Conv2dAlgorithm::kDirect, true, {}};
  const double im2col = im2col_weight(s);
  return with_winograd<T>(p, {Conv2dAlgorithm::kIm2col, false, {}, false, im2col}, im2col,
                          [&](const Winograd& w) { return winograd_weight(w, s, sizeof(T)); });
}

#define JADRO_INSTANTIATE(T)                                                         \
  template Conv2dChoice choose_product<T>(const Conv2dPass&, Conv2dAlgorithm, bool); \
  template Conv2dChoice choose_weight<T>(const Conv2dPass&, Conv2dAlgorithm);
JADRO_INSTANTIATE(float)
JADRO_INSTANTIATE(double)

}  // namespace jadro
