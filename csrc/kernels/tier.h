// The kernels of one instruction set: each op's file puts its own into the table, table.cpp calls them all. JADRO_TIER
// is the set's name, which the build gives; what has a name outside a file stands in a namespace of that name.
#pragma once

#include "core/kernel_table.h"

namespace jadro {
namespace JADRO_TIER {

const KernelTable& kernel_table();

void set_activation(KernelTable&);
void set_arithmetic(KernelTable&);
void set_optim(KernelTable&);
void set_avg_pool(KernelTable&);
void set_batch_norm(KernelTable&);
void set_conv2d(KernelTable&);
void set_conv2d_channels(KernelTable&);
void set_conv2d_depthwise(KernelTable&);
void set_conv2d_rows(KernelTable&);
void set_conv2d_winograd(KernelTable&);
void set_cross_entropy(KernelTable&);
void set_dropout(KernelTable&);
void set_embedding(KernelTable&);
void set_gemm(KernelTable&);
void set_group_norm(KernelTable&);
void set_pool2d(KernelTable&);
void set_reduce(KernelTable&);
void set_rnn(KernelTable&);
void set_softmax(KernelTable&);

}  // namespace JADRO_TIER
}  // namespace jadro
