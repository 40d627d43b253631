// What every instruction set exports: one table of single-threaded kernels. csrc/ops splits a problem and calls these.
#pragma once

#include "core/shapes.h"

namespace jadro {

class Barrier;

// The options of one direction of one layer (API: nn.LSTM and so on); null pointers leave theirs out. Masks are words
// of the Philox stream of `seed`, that of unit j of original row order[n] at step t being word (t N + order[n]) size +
// j behind the place where its kind begins.
template <class T>
struct RnnOptions {
  const T *gain_ih, *gain_hh;         // layer norm of W x and of U h: [G*H]; its biases are added to the others
  const T *gain_c, *bias_c;           // and of c: [H]
  const T *peep_i, *peep_f, *peep_o;  // [H]
  T gate_clip, cell_clip;             // infinity: none
  T zoneout_h, zoneout_c, drop;       // probabilities
  bool training, update;              // update: dropout acts on what a step writes, not on the h that enters U
  u64 seed, at_h, at_c, at_drop;
  const i64* order;  // null: rows stand as they came
  bool sequence() const { return training && drop > 0 && !update; }
};

// Numbers a token: means and factors of layer norm, of W x and of U h for two groups of gates each, and of c.
constexpr i64 kRnnStats = 10;

// What forward and backward share. `run`: the steps to do, in the order of the loop. A run's arrays by token begin with
// token `origin`: saved [kSaved,H], cells [H], raw_ih and raw_hh [G*H] (W x and U h before layer norm), stats
// [kRnnStats]. restart [tokens] says which rows begin step t with h_restart and c_restart [N,..], zeros where null, in
// place of the state before; any_restart [T] whether some do. Sizes [N,..] of work: kRnnWork H.
template <class T>
struct RnnRun {
  Rnn shape;
  const RnnOptions<T>* options;
  Range run;
  i64 origin;
  const unsigned char *restart, *any_restart;
  const T *h_restart, *c_restart;
  const T *h0, *c0;
  T *saved, *cells, *raw_ih, *raw_hh, *stats, *work;
};
constexpr i64 kRnnWork = 8;

// One direction of one layer; w_ih, w_hh and w_hr transposed by pack_b, each gate apart. in[k] = W_k x + bias_k, biases
// added up where the cell adds them; bias_n [H] is the GRU's b'_n. y [tokens,..P] is read at the step before; y_new is
// y, or null where it is known and only the rest is wanted again. cn [N,H] holds c at the start and c at the end. saved
// and cells are null in inference. unpacked: w_ih and w_hh are the weights themselves, of a cell without options. `in`
// [tokens,G*H], from `origin` on, may hold what rnn_project makes; where null the loop makes it.
template <class T>
struct RnnForward : RnnRun<T> {
  const T *x, *w_ih, *w_hh, *w_hr, *bias, *bias_n, *in, *y;
  T *y_new, *cn;
  bool unpacked;
};

// w_hh and w_hr by pack_b, pass_depth rows at a time (of kGruBefore w_hh holds the rows of r z, w_hn those of n). dh
// [N,P], dc [N,H]: gradients of the last state at the start, of the first at the end; c_enter [N,H]: the cell state
// before the run's first step, where that is not the first of all. By token, from the first on, da_row apart: da
// [kGrads,H], gradients of the pre-activations; with layer norm da by row, and by token dw and du [G*H], those of W x
// and U h; h_in [P], the h that entered U, where not null; reset [H]: r h of kGruBefore; dp [P] and shown [H]: gradient
// and input of the projection. sums [N,rnn_sums]: gradients of gains and peepholes, a row's added up over the steps:
// gain_ih, gain_hh, gain_c, bias_c, peep_i, peep_f, peep_o, and room for the gradients of one step's pre-activations.
template <class T>
struct RnnBackward : RnnRun<T> {
  const T *w_hh, *w_hn, *w_hr, *y, *dy, *dcells, *c_enter, *bias_n;
  i64 dcells_row, da_row;
  T *dh, *dc, *dh_restart, *dc_restart, *da, *dw, *du, *h_in, *reset, *dp, *shown, *sums;
  bool unpacked;  // w_hh is the weight itself, as forward
};
static inline i64 rnn_sums(const Rnn& s) { return (2 * s.gates() + 9) * s.hidden; }

// A convolution seen as one matrix product per group: rows are the outgoing channels, columns the cells (n, k, i, j) of
// a grid, and the depth runs over (incoming channel, tap). Taps are sorted by their depth in space, taps / depths of
// them for each. Cell (k, i, j) and tap t meet at source pixel (k step_d + tap_d[t / (taps / depths)], i step_h +
// tap_h[t], j step_w + tap_w[t]), outside the image what the padding shows; the result goes to destination pixel (k
// dst_step_d + dst_d0, i dst_step_h + dst_h0, j dst_step_w + dst_w0). Forward is one such pass; the gradient of the
// data is one for each phase of the stride, with the taps that reach it.
struct Conv2dPass {
  i64 n, groups, in, out;  // channels of one group
  i64 src_d, src_h, src_w, grid_d, grid_h, grid_w, step_d, step_h, step_w;
  i64 dst_d, dst_h, dst_w, dst_step_d, dst_step_h, dst_step_w, dst_d0, dst_h0, dst_w0;
  i64 depths, taps;
  i64 channels;  // whose taps make one pass over the depth
  const i64 *tap_d, *tap_h, *tap_w;
  // The filter of outgoing channel o and incoming channel c stands at group * w_group + o * w_out + c * w_in of w,
  // w_taps elements; tap t is that at place[t]. Places ascend.
  i64 w_group, w_out, w_in, w_taps;
  const i64* place;
  Range reach_h, reach_w;  // from the least tap to the greatest, of all passes that share the planes
  PaddingMode padding_mode;
  i64 grid() const { return grid_d * grid_h * grid_w; }
  i64 src_plane() const { return src_d * src_h * src_w; }  // of one channel
  i64 dst_plane() const { return dst_d * dst_h * dst_w; }
  i64 cells() const { return n * grid(); }
  i64 depth() const { return in * taps; }
  // Of one group's filters in panels, those of columns `width` wide, with slack for whole vectors.
  i64 packed_size(i64 width = 1) const { return ((out + width - 1) / width * width * depth() + 127) / 64 * 64; }
  bool filters_are_rows() const { return taps == w_taps && w_in == taps; }  // an outgoing channel's, in order
};

// What a finished result of outgoing channel o becomes: y scale[o] + bias[o] + add, add shaped as dst, rectified. Null
// pointers leave their part out.
template <class T>
struct Conv2dEpilogue {
  const T *bias, *scale, *add;
  Rectifier<T> rectifier;
};

// Cells (first_h + i step_h, first_w + j step_w) of a plane, i < rows, j < columns.
struct ThinPlane {
  i64 height, width, rows, columns, first_h, first_w, step_h, step_w;
};

// A plane in step_h x step_w phases, each an image of [rows, columns] and `phase` elements from the next: cell (i, j)
// of phase (f, g) is cell (i step_h + f - lead_h, j step_w + g - lead_w) of the plane, zero outside.
struct PhasePlane {
  i64 height, width, rows, columns, step_h, step_w, lead_h, lead_w, phase;
};

// Products that a lane of dw adds up before the exact sum, where planes are summed as they stand.
constexpr i64 kConv2dAddends = 512;

// Phases of a row that conv2d_block can interleave.
constexpr i64 kConv2dPhases = 4;

// src [n, groups*in, src_d, src_h, src_w]; w: each group's filters packed by conv2d_pack, packed_size() apart, or as
// they stand, for few cells: every panel of them is then packed where it is multiplied; dst [n, groups*out, dst_d,
// dst_h, dst_w].
template <class T>
struct Conv2dProduct {
  Conv2dPass pass;
  const T *src, *w;
  T* dst;
  Conv2dEpilogue<T> epilogue;
  bool direct, past_caches, packed;
  bool cells_are_rows;  // of the product, and outgoing channels its columns: for one phase
};

// dw [groups, out, depth] from src and dy [n, groups*out, grid_d, grid_h, grid_w].
template <class T>
struct Conv2dWeight {
  Conv2dPass pass;
  const T *src, *dy;
  T* dw;
};

// A Conv2dPass whose r x r taps are neighbours, cut into tiles of m x m cells. The first tap of cell (0, 0) meets
// source pixel (top, left). With a stride, every phase of the source's pixels is a set of channels of its own, rounded
// up to whole vectors; its filters are the taps of that phase, and zeros where those are fewer than r x r. Without one,
// the results may stand apart in the destination. `pass` is one over slices: its images are the slices of the
// destination's volumes, dst_d of each, and its channels are (channel of the source, depth of the taps), depths of
// each; slice d and depth k meet the source at depth d * step_d + tap_d[k].
struct Winograd {
  Conv2dPass pass;
  i64 depths, step_d, src_d, dst_d;
  const i64* tap_d;
  i64 m, r, top, left;
  i64 stride, channels;  // of the source; channels of one phase
  bool flipped;          // the taps of w run from the last to the first
  i64 tiles_h, tiles_w;
  i64 u_point;  // distance of the points in a panel of filters
  i64 tiles() const { return pass.n * tiles_h * tiles_w; }
  i64 points() const { return (m + r - 1) * (m + r - 1); }
};

// As Conv2dProduct; u: the filters packed by winograd_pack.
template <class T>
struct WinogradProduct {
  Winograd shape;
  const T *src, *u;
  T* dst;
  Conv2dEpilogue<T> epilogue;
  const T* zeros;  // a slice that lies in the padding
};

// dw [groups*out, in, w_taps] from src and dy [n, groups*out, dst_d, dst_h, dst_w], as `shape.pass` has them; v, p:
// transformed source and dy of a chunk of tiles, du: the gradient of the transformed filters; v_point, p_point,
// du_point apart for each of the shape's points.
template <class T>
struct WinogradWeight {
  Winograd shape;
  const T *src, *dy, *zeros;
  T *v, *p, *du, *dw;
  i64 v_point, p_point, du_point;
};

// F(m x m, r x r) for one m and r. Functions that return bool say whether all results are finite.
template <class T>
struct WinogradKernels {
  i64 (*scratch)(const Winograd&, i64 tiles);
  i64 rows;  // scratch of weight_transform
  void (*pack)(const Winograd&, const T* w, Range panels, T* packed);
  bool (*block)(const WinogradProduct<T>&, i64 group, Range tiles, Range panels, T* scratch);
  void (*weight_transform)(const WinogradWeight<T>&, i64 group, Range chunk, Range tiles, T* rows);
  void (*weight_multiply)(const WinogradWeight<T>&, i64 tiles, bool first, Range points);
  bool (*weight_results)(const WinogradWeight<T>&, i64 group, Range channels);
};

template <class T>
struct Kernels {
  // Tile of the microkernel and depth of one pass: what a split of a matrix product should be a multiple of.
  i64 tile_rows, tile_columns, pass_depth, lanes;
  // B[k,n] in panels of tile_columns columns, panel j at j * k * tile_columns
  void (*pack_b)(const T* b, i64 row, i64 col, i64 k, i64 n, T* packed);
  i64 (*gemm_scratch)(i64 m, i64 n);
  void (*gemm_block)(const Gemm<T>&, Range m, Range n, T* scratch);
  // Most rows of A, rows of long dot products, or terms of the sums, for gemm_thin. It wants B with contiguous rows,
  // or, for few rows of A, those and B's columns so.
  i64 thin_rows, dot_rows, thin_terms;
  void (*gemm_thin)(const Gemm<T>&, Range n);
  i64 (*conv2d_scratch)(const Conv2dProduct<T>&, i64 cells);
  void (*conv2d_pack)(const Conv2dPass&, const T* w, bool columns, Range panels, T* packed);
  void (*conv2d_block)(const Conv2dProduct<T>* phases, i64 count, i64 group, Range cells, Range panels, T* scratch);
  i64 (*conv2d_weight_scratch)(const Conv2dPass&, i64 columns);
  void (*conv2d_weight_block)(const Conv2dWeight<T>&, i64 group, Range cells, Range columns, T* scratch);
  void (*take_cells)(const ThinPlane&, const T* plane, T* cells);
  void (*spread_cells)(const ThinPlane&, const T* cells, T* plane);    // zeros between them
  void (*split_phases)(const PhasePlane&, const T* plane, T* phases);  // step_w > 1
  void (*join_phases)(const PhasePlane&, const T* phases, T* plane);
  T (*sum)(const T* a, i64 size);
  i64 (*conv2d_depthwise_scratch)(const Conv2dPass&);
  void (*conv2d_depthwise)(const Conv2dProduct<T>&, Range items, T* scratch);
  void (*conv2d_depthwise_weight)(const Conv2dWeight<T>&, Range groups, T* scratch);
  bool (*conv2d_by_channels)(const Conv2dPass&, bool weight);
  void (*conv2d_channels)(const Conv2dProduct<T>&, Range items);
  void (*conv2d_channels_weight)(const Conv2dWeight<T>&, Range channels);
  void (*conv2d_rows)(const Conv2dProduct<T>* phases, i64 count, Range items);
  void (*conv2d_rows_weight)(const Conv2dWeight<T>&, Range channels);
  WinogradKernels<T> winograd23, winograd43, winograd25, winograd42;
  i64 (*rnn_forward_scratch)(const Rnn&, i64 rows, i64 units, bool options);
  i64 (*rnn_backward_scratch)(const Rnn&, i64 rows, bool options);
  void (*rnn_project)(const RnnForward<T>&, Range tokens, T* in, T* scratch);  // scratch: tokens * input and a vector
  void (*rnn_forward)(const RnnForward<T>&, Range rows, Range units, Range outs, T* scratch, Barrier*);
  void (*rnn_backward)(const RnnBackward<T>&, Range rows, Range units, Range outs, T* scratch, Barrier*);
  void (*sum_rows)(const T* a, i64 rows, i64 row, Range columns, bool accumulate, T* out);
  void (*activation_forward)(Activation, T a, T b, const T* x, T* y, i64 n, bool past_caches);
  void (*activation_backward)(Activation, T a, T b, const T* dy, const T* v, T* dx, i64 n, bool past_caches);
  void (*prelu_forward)(const ChannelShape&, const T* x, const T* w, Range channels, Range items, T* y,
                        bool past_caches);
  void (*prelu_backward)(const ChannelShape&, const T* dy, const T* x, const T* w, Range channels, Range items, T* dx,
                         double* dw, bool past_caches);
  void (*arithmetic)(Arithmetic, Operand<T> a, Operand<T> b, T* y, i64 n);
  void (*select)(const unsigned char* mask, Operand<T> a, Operand<T> b, T* y, i64 n);
  void (*reduce_rows)(Reduction, const T* x, i64 n, i64 rows, T* y);
  void (*reduce_columns)(Reduction, const T* x, i64 n, i64 stride, i64 columns, T* y);
  void (*find_in_rows)(const T* x, i64 n, i64 rows, const T* value, i64* place);
  void (*random_uniform)(T* out, i64 n, u64 seed, u64 offset);
  void (*dropout)(const T* x, T* y, i64 n, u32 threshold, T keep, u64 seed, u64 offset);
  void (*cross_entropy_forward)(const CrossEntropy<T>&, Range rows, T* losses, T* lse);
  void (*cross_entropy_backward)(const CrossEntropy<T>&, Range rows, const T* lse, const T* dlosses, T* dx);
  void (*embedding_forward)(const T* weight, i64 width, const i64* ids, i64 rows, T* y);
  void (*embedding_backward)(const T* dy, i64 width, const i64* ids, i64 rows, i64 skip, Range columns, T* dweight);
  void (*optim_step[kOptimRules])(const OptimStep<T>&, const OptimParameter<T>&, Range);
  double (*grad_norm)(Norm, const T* x, i64 n);
  void (*grad_clip)(T scale, T low, T high, T* x, i64 n);
  void (*batch_norm_moments)(const ChannelShape&, const T* x, Range channels, Range items, T* mean, Moments* out);
  void (*batch_norm_apply)(const ChannelShape&, const T* x, Range channels, Range items, const T* mean, const T* scale,
                           const T* bias, const T* add, const Rectifier<T>&, T* y, bool past_caches);
  void (*batch_norm_sums)(const ChannelShape&, const T* dy, const T* x, const BatchNormMask<T>&, Range channels,
                          Range items, const T* mean, BatchNormSums* out);
  void (*batch_norm_gradient)(const ChannelShape&, const T* dy, const T* x, const BatchNormMask<T>&, Range channels,
                              Range items, const T* mean, const T* gain, const T* shift, const T* slope, const T* scale,
                              T* dx, bool past_caches);
  i64 (*softmax_items)(const Softmax&);
  void (*softmax_forward)(const Softmax&, const T* x, Range items, T* y);
  void (*softmax_backward)(const Softmax&, const T* dy, const T* y, Range items, T* dx);
  void (*group_norm_rows_forward)(const GroupNormRows<T>&, const T* x, Range rows, T* y, T* mean, T* rstd,
                                  bool past_caches);
  void (*group_norm_rows_backward)(const GroupNormRows<T>&, const T* dy, const T* x, Range rows, const T* mean,
                                   const T* rstd, T* dx, T* dweight, T* dbias, bool past_caches);
  PoolWork (*max_pool2d_work)(const Pool2d&, bool indices);
  void (*max_pool2d_forward)(const Pool2d&, const T* x, Range items, T* y, std::int32_t* indices, T* scratch);
  bool (*max_pool2d_indices_inside)(const std::int32_t* indices, i64 count, i64 size);
  void (*max_pool2d_backward)(const T* dy, const std::int32_t* indices, Range planes, i64 outputs, i64 size, T* dx,
                              T* scratch);
  void (*max_unpool2d_forward)(const T* x, const std::int32_t* indices, Range planes, i64 inputs, i64 size, T* y);
  void (*max_unpool2d_backward)(const T* dy, const std::int32_t* indices, Range planes, i64 inputs, i64 size, T* dx);
  PoolWork (*avg_pool_work)(const AvgPool<T>&, bool backward);
  void (*avg_pool_forward)(const AvgPool<T>&, const T* x, Range items, T* y, T* scratch);
  void (*avg_pool_backward)(const AvgPool<T>&, const T* dy, Range items, T* dx, T* scratch, bool past_caches);
};

struct KernelTable {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace jadro
