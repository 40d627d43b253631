#include "core/cpu.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace jadro {

#if defined(__x86_64__)
namespace baseline {
const KernelTable& kernel_table();
}
namespace avx2 {
const KernelTable& kernel_table();
}
namespace avx512 {
const KernelTable& kernel_table();
}
#else
namespace neon {
const KernelTable& kernel_table();
}
#endif

namespace {

struct Tier {
  const KernelTable& (*table)();
  bool present;
};

// From the slowest to the fastest. x86-64-v3 and -v4 name the same sets of features that the files are compiled for.
std::vector<Tier> tiers() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return {{baseline::kernel_table, true}, {avx2::kernel_table, v3}, {avx512::kernel_table, v4}};
#else
  return {{neon::kernel_table, true}};
#endif
}

const KernelTable* find(const std::string& name) {
  for (const Tier& tier : tiers()) {
    if (tier.present && name == tier.table().isa) return &tier.table();
  }
  return nullptr;
}

const KernelTable* best() {
  const KernelTable* table = nullptr;
  for (const Tier& tier : tiers()) {
    if (tier.present) table = &tier.table();
  }
  return table;
}

std::atomic<const KernelTable*> current{nullptr};

}  // namespace

const KernelTable& kernels() {
  const KernelTable* table = current.load(std::memory_order_relaxed);
  if (!table) {
    const char* name = std::getenv("JADRO_ISA");
    if (name && *name) {
      set_isa(name);
    } else {
      current.store(best());
    }
    table = current.load();
  }
  return *table;
}

template <>
const Kernels<float>& kernels_of<float>() {
  return kernels().f32;
}
template <>
const Kernels<double>& kernels_of<double>() {
  return kernels().f64;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Tier& tier : tiers()) {
    if (tier.present) names.push_back(tier.table().isa);
  }
  return names;
}

void set_isa(const std::string& name) {
  const KernelTable* table = find(name);
  if (!table) {
    std::string message = "isa: '" + name + "' is not one of this processor's instruction sets:";
    for (const std::string& have : available_isas()) message += " " + have;
    throw std::invalid_argument(message);
  }
  current.store(table);
}

}  // namespace jadro
