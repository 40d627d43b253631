#include "kernels/embedding.h"

#include "kernels/tier.h"

namespace jadro {
namespace {

template <class T>
void set(Kernels<T>& k) {
  k.embedding_forward = embedding_forward<T>;
  k.embedding_backward = embedding_backward<T>;
}

}  // namespace

void JADRO_TIER::set_embedding(KernelTable& table) {
  set(table.f32);
  set(table.f64);
}

}  // namespace jadro
