// Plain descriptions of the problems that kernels solve. Everything is a value or a pointer: no allocation, no
// behaviour beyond small arithmetic, so that every layer and every instruction set can share them.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define JADRO_DEVICE __host__ __device__
#else
#define JADRO_DEVICE
#endif

namespace jadro {

using i64 = std::int64_t;
using u64 = std::uint64_t;
using u32 = std::uint32_t;

struct Range {
  i64 begin, end;
};

// C[m,n] = A[m,k] B[k,n] + bias[n], or C += with accumulate. A and B have any strides, rows of C are contiguous.
template <class T, class Result = T>
struct Gemm {
  i64 m, n, k;
  const T* a;
  i64 a_row, a_col;
  const T* b;
  i64 b_row, b_col;
  Result* c;
  i64 c_row;
  const Result* bias;
  bool accumulate;
};

enum class PaddingMode : int { kZeros, kReflect, kReplicate, kCircular };

// Which of the `size` cells of an axis stands at place i of the padded axis; -1 for a zero. Padding reaches at most one
// period out; places beyond it, which no tap reads, show any cell.
JADRO_DEVICE static inline i64 source_cell(PaddingMode mode, i64 i, i64 size) {
  if (i >= 0 && i < size) return i;
  if (mode == PaddingMode::kZeros) return -1;
  const i64 last = size - 1;
  if (mode == PaddingMode::kReflect) i = i < 0 ? -i : 2 * last - i;
  if (mode == PaddingMode::kCircular) i += i < 0 ? size : -size;
  return i < 0 ? 0 : i > last ? last : i;
}

// One axis of space: cells of x, y and w, and the cells of padding before and after, negative where cells are cut off.
struct Conv2dAxis {
  i64 in, out, kernel, stride, before, after, dilation;
};

// x [n, ic, d.in, h.in, w.in], w [oc, ic/groups, d.kernel, h.kernel, w.kernel], y [n, oc, d.out, h.out, w.out]; an
// image has depth 1.
struct Conv2d {
  i64 n, ic, oc, groups;
  Conv2dAxis d, h, w;
  PaddingMode padding_mode;
};

// Windows of x[planes,id,ih,iw]; an image has one plane. Adaptive windows are the bins floor(o I / O) .. ceil((o + 1) I
// / O), whatever kernel, stride, padding and dilation say.
struct Pool2d {
  i64 planes, ih, iw, oh, ow;
  i64 kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  i64 id = 1, od = 1, kd = 1, stride_d = 1, pad_front = 0, dilation_d = 1;
  bool adaptive = false;
};

// What a kernel of pooling is to do: items, in any split, and the scratch memory that each thread needs.
struct PoolWork {
  i64 items, scratch;
};

// One axis: windows of `kernel` places from o stride - before on; where kernel is 0, the bins floor(o I / O) ..
// ceil((o + 1) I / O). Padding counts, as zeros, up to `after` places behind the input.
struct AvgPoolWindows {
  i64 in, out, kernel, stride, before, after;
};

// Means over windows of x[planes, d, h, w]. A window's sum is divided by `divisor`, where it is not 0, else by how many
// places it has in the input and, with `padding_counts`, in the padding. Every window has one in the input.
struct AvgPoolProblem {
  i64 planes;
  AvgPoolWindows d, h, w;
  bool padding_counts;
  i64 divisor;
};

// One axis of average pooling. Output o is the sum over places begin[o] .. end[o] - 1, divided by count[o]; place i is
// under the windows first[i] .. last[i] - 1. Windows that start at o stride - pad say so by their kernel; else it is 0.
template <class T>
struct AvgPoolAxis {
  i64 in, out, kernel, stride, pad;
  const i64 *begin, *end, *first, *last;
  const T* count;
};
template <class T>
struct AvgPool {
  i64 planes;
  AvgPoolAxis<T> d, h, w;
};

// Pointwise functions, and their numbers a and b.
enum class Activation : int {
  kRelu,
  kTanh,
  kSigmoid,
  kLeakyRelu,  // x > 0 ? x : a x
  kElu,        // x > 0 ? x : a (exp(x) - 1)
  kGelu,       // x Phi(x), Phi the normal distribution function
  kGeluTanh,   // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  kSilu,       // x / (1 + exp(-x))
  kHardtanh,   // x bounded to a .. b
  kSoftplus    // a x > b ? x : log(1 + exp(a x)) / a
};

// Channels of x[n,c,s].
struct ChannelShape {
  i64 n, c, s;
};

// y = f(a) or f(a, b), elementwise.
enum class Arithmetic : int {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kMaximum,
  kMinimum,
  kAbsolute,
  kNegative,
  kSqrt,
  kExp
};

// An array (step 1), or one number, repeated for a vector (step 0).
template <class T>
struct Operand {
  const T* at;
  i64 step;
};

// x[outer,n,inner] is reduced over n; the largest and smallest numbers are NaN where one is.
enum class Reduction : int { kSum, kSquares, kMax, kMin };
struct ReducedShape {
  i64 outer, n, inner;
};

// Mean and sum of squared deviations of `count` numbers.
struct Moments {
  double count, mean, squares;
};

// Of two sets of numbers together (Chan, Golub and LeVeque 1979).
JADRO_DEVICE static inline Moments merge(const Moments& a, const Moments& b) {
  if (a.count == 0) return b;
  const double count = a.count + b.count, distance = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + distance * share, a.squares + b.squares + distance * distance * share * a.count};
}

// The ReLU family behind a result v of channel c: slope[c] v below 0, or 0 without slopes, and at most `most`.
template <class T, class Bound = T>
struct Rectifier {
  bool on;
  const T* slope;
  Bound most;  // infinity for none
};

// What a rectifier behind batch norm makes of gradients: by y, or, without y, by (x - mean) scale + bias. Without scale
// they pass. The gradient that passes goes to dadd, where there is one, with dx.
template <class T>
struct BatchNormMask {
  const T *scale, *bias, *y;
  T* dadd;
  Rectifier<T> rectifier;
};

// For a channel: the sums of dy and of dy (x - mean).
struct BatchNormSums {
  double dy, dy_x;
};

// x[outer,n,inner] along n; with log the logarithm.
struct Softmax {
  i64 outer, n, inner;
  bool log;
};

// Rows of k channels of s numbers, normalised one by one; row r has the weights and biases (r % groups) k ..., one a
// channel, which may be null.
template <class T>
struct GroupNormRows {
  i64 groups, k, s;
  const T *weight, *bias;
  double eps;
};

// x[rows,classes], target[rows], weight[classes] or null. In the loss of a row class k counts q[k] = weight[k] (smooth
// + hard [k == target]): smooth = label_smoothing / classes, hard = 1 - label_smoothing; weight_sum is the sum of the
// weights.
template <class T>
struct CrossEntropy {
  i64 classes;
  const T* x;
  const i64* target;
  const T* weight;
  i64 ignore_index;
  double smooth, hard, weight_sum;
};

// How an optimizer turns the gradient into a difference; kernels/update_rules.h has the equations.
enum class OptimRule : int {
  kSgd,
  kSgdMomentum,
  kAdagrad,
  kRmsprop,
  kRmspropMomentum,
  kRmspropCentered,
  kRmspropCenteredMomentum,
  kAdam,
  kAdamLargest
};
constexpr int kOptimRules = 9;

// One parameter of n elements with its gradient and the state that its rule keeps, each of the same size.
template <class T>
struct OptimParameter {
  i64 n;
  T* p;
  const T* g;
  T* state[3];
};
// The numbers of a step; a rule reads its own.
template <class T>
struct OptimStep {
  T sign;    // of the gradient: -1 to go uphill
  T shrink;  // p *= shrink first: decoupled weight decay
  T decay;   // g += decay p: the other kind
  T beta1, alpha1, beta2, alpha2, rate, root, eps, momentum;
  bool nesterov;
};

// An array of n elements.
template <class T>
struct Span {
  T* x;
  i64 n;
};
enum class Norm { kSizes, kSquares, kLargest };  // the sum of |x|, of x^2, the largest |x|

// The last two exist with options alone: f = 1 - i in place of a gate, and n of U_n (r h) in place of r (U_n h).
enum class Cell : int { kRnnTanh, kRnnRelu, kLstm, kGru, kLstmCoupled, kGruBefore };

static inline bool is_lstm(Cell cell) { return cell == Cell::kLstm || cell == Cell::kLstmCoupled; }
static inline bool is_gru(Cell cell) { return cell == Cell::kGru || cell == Cell::kGruBefore; }
static inline i64 gates_of(Cell cell) { return cell == Cell::kLstm ? 4 : is_gru(cell) || is_lstm(cell) ? 3 : 1; }

// One direction of one layer over T steps; G gates of H units, h of P = H units or, projected, fewer. Rows of the batch
// are independent of each other. Of a row, the states at step t stand at token at(t) + row.
struct Rnn {
  Cell cell;
  i64 steps, batch, input, hidden, output;
  i64 x_row, y_row;  // distance between tokens of x and of y (y may be one half of a bidirectional output)
  bool reverse;
  const i64* first;  // token of each step's first row and, last, their number; null: all rows live through all steps
  i64 gates() const { return gates_of(cell); }
  i64 time(i64 step) const { return reverse ? steps - 1 - step : step; }
  i64 at(i64 t) const { return first ? first[t] : t * batch; }
  i64 rows(i64 t) const { return first ? first[t + 1] - first[t] : batch; }  // rows [0, rows(t)) are alive
  // Whether a live row's first step is t: there is no state of the step before.
  bool begins(i64 t, i64 row) const {
    const i64 before = reverse ? t + 1 : t - 1;
    return before < 0 || before >= steps || row >= rows(before);
  }
};

}  // namespace jadro
