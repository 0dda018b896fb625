#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace flame::kernels {

/// Name of the instruction set that the kernels use, chosen at the first call: "AVX3_DL" (AVX-512 with VNNI and VBMI),
/// "AVX3", "AVX2", "SSE4", "SSSE3", "SSE2", "NEON", …, for the first line of --stats.
[[nodiscard]] std::string_view instruction_set();

/// The instruction sets that were compiled in and that this processor can run, best first.
[[nodiscard]] std::vector<std::string_view> available_instruction_sets();

/// Makes all kernels use `name` from now on, an element of available_instruction_sets(); "" returns to the best.
/// For tests and benchmarks; not while kernels run. Returns false for a name that is not available.
bool force_instruction_set(std::string_view name);

/// Bytes of the last-level cache that a processor reaches, as the system tells of its first; 32 MiB where it does not.
[[nodiscard]] std::size_t last_level_cache_bytes();

}  // namespace flame::kernels
