#pragma once

#include <cstdint>

namespace flame {

/// This process's resident memory in bytes, from /proc/self/status. All zero where that cannot be read.
struct MemoryUsage {
  std::uint64_t resident = 0;   ///< now, all kinds
  std::uint64_t peak = 0;       ///< most ever resident, or since reset_peak_memory()
  std::uint64_t anonymous = 0;  ///< now, heap and stacks
  std::uint64_t file = 0;       ///< now, pages of mapped files: the kernel may take these back at any time
};

[[nodiscard]] MemoryUsage memory_usage();

/// Bytes that this process could still come to hold without anything being swapped or killed: what the kernel counts as
/// available, and no more than the limits of its control groups. 0 where that cannot be read.
[[nodiscard]] std::uint64_t available_memory();

/// Starts a new peak from what is resident now. Returns false where the kernel does not allow it: the peak is then that
/// of the whole process.
bool reset_peak_memory();

}  // namespace flame
