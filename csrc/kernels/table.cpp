// The one exported symbol of an instruction set.
#include <utility>

#include "core/kernel_table.h"
#include "kernels/activation.h"
#include "kernels/adam.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/pool2d.h"
#include "kernels/rnn.h"

namespace jadro {
namespace {

template <class T>
constexpr Kernels<T> make_kernels() {
  Kernels<T> k{};
  k.tile_rows = kMr;
  k.tile_columns = kNr<T>;
  k.pass_depth = kKc;
  k.gemm_scratch = gemm_scratch<T>;
  k.gemm_block = gemm_block<T>;
  k.conv2d_scratch = conv2d_scratch<T>;
  k.conv2d_pack = conv2d_pack<T>;
  k.conv2d_block = conv2d_block<T>;
  k.conv2d_weight_scratch = conv2d_weight_scratch<T>;
  k.conv2d_weight_block = conv2d_weight_block<T>;
  k.sum = sum<T>;
  k.rnn_pack_forward = rnn_pack_forward<T>;
  k.rnn_pack_backward = rnn_pack_backward<T>;
  k.rnn_forward_scratch = rnn_forward_scratch<T>;
  k.rnn_backward_scratch = rnn_backward_scratch<T>;
  k.rnn_forward = rnn_forward<T>;
  k.rnn_backward = rnn_backward<T>;
  k.sum_rows = sum_rows<T>;
  k.activation_forward = activation_forward<T>;
  k.activation_backward = activation_backward<T>;
  k.random_uniform = random_uniform<T>;
  k.dropout = dropout<T>;
  k.cross_entropy_forward = cross_entropy_forward<T>;
  k.cross_entropy_backward = cross_entropy_backward<T>;
  k.embedding_forward = embedding_forward<T>;
  k.embedding_backward = embedding_backward<T>;
  k.adam_step = adam_step<T>;
  k.batch_norm_moments = batch_norm_moments<T>;
  k.batch_norm_apply = batch_norm_apply<T>;
  k.batch_norm_sums = batch_norm_sums<T>;
  k.batch_norm_gradient = batch_norm_gradient<T>;
  k.max_pool2d_scratch = max_pool2d_scratch<T>;
  k.max_pool2d_forward = max_pool2d_forward<T>;
  k.max_pool2d_indices_inside = max_pool2d_indices_inside;
  k.max_pool2d_backward = max_pool2d_backward<T>;
  return k;
}

#define JADRO_JOIN2(a, b) a##b
#define JADRO_JOIN(a, b) JADRO_JOIN2(a, b)
#define JADRO_STRING2(a) #a
#define JADRO_STRING(a) JADRO_STRING2(a)

constexpr KernelTable table{JADRO_STRING(JADRO_TIER), make_kernels<float>(), make_kernels<double>()};

}  // namespace

const KernelTable& JADRO_JOIN(kernel_table_, JADRO_TIER)();
const KernelTable& JADRO_JOIN(kernel_table_, JADRO_TIER)() { return table; }

}  // namespace jadro
