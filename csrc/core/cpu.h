// Which instruction set runs: the best one that the processor has, or the one that JADRO_ISA names.
#pragma once

#include <string>
#include <vector>

#include "core/kernel_table.h"

namespace jadro {

const KernelTable& kernels();
template <class T>
const Kernels<T>& kernels_of();

std::vector<std::string> available_isas();
void set_isa(const std::string& name);  // throws std::invalid_argument

}  // namespace jadro
