// The one entry to an instruction set.
#include "kernels/tier.h"

namespace jadro {
namespace {

KernelTable make_table() {
  KernelTable table{};
  table.isa = JADRO_TIER_NAME;
  JADRO_TIER::set_activation(table);
  JADRO_TIER::set_arithmetic(table);
  JADRO_TIER::set_optim(table);
  JADRO_TIER::set_avg_pool(table);
  JADRO_TIER::set_batch_norm(table);
  JADRO_TIER::set_conv2d(table);
  JADRO_TIER::set_conv2d_channels(table);
  JADRO_TIER::set_conv2d_depthwise(table);
  JADRO_TIER::set_conv2d_rows(table);
  JADRO_TIER::set_conv2d_winograd(table);
  JADRO_TIER::set_cross_entropy(table);
  JADRO_TIER::set_dropout(table);
  JADRO_TIER::set_embedding(table);
  JADRO_TIER::set_gemm(table);
  JADRO_TIER::set_group_norm(table);
  JADRO_TIER::set_pool2d(table);
  JADRO_TIER::set_reduce(table);
  JADRO_TIER::set_rnn(table);
  JADRO_TIER::set_softmax(table);
  return table;
}

}  // namespace

const KernelTable& JADRO_TIER::kernel_table() {
  static const KernelTable table = make_table();
  return table;
}

}  // namespace jadro
