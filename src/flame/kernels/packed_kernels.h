#pragma once

#include "flame/kernels/packed_block.h"

namespace flame::kernels {

/// The fastest kernel that the chosen instruction set has for a format. Every format has one.
[[nodiscard]] BlockKernel choose_block_kernel(const PackedFormat& format);

/// True when that is a kernel written for the pattern, false when it is the general one.
[[nodiscard]] bool has_fast_block_kernel(const PackedFormat& format);

}  // namespace flame::kernels
