#include "kernels/rnn.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.rnn_project = rnn_project<T>;
  k.rnn_forward_scratch = rnn_forward_scratch<T>;
  k.rnn_backward_scratch = rnn_backward_scratch<T>;
  k.rnn_forward = rnn_forward<T>;
  k.rnn_backward = rnn_backward<T>;
}

}  // namespace

void JADRO_TIER::set_rnn(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
