#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flame::accel {

/// Where the kernel's cycles went; the order of flame_pkg's cycle kinds.
enum class CycleKind : std::uint8_t {
  kCommand,
  kInput,
  kDecide,
  kCompute,
  kMemory,
  kOverhead,
  kOutput,
  kDelay,
  kTables,
  kIdle,
};
inline constexpr std::size_t kCycleKinds = 10;
/// "fetching commands", "array busy", ... for reports.
const char* describe(CycleKind kind);

struct KernelCounters {
  std::array<std::uint64_t, kCycleKinds> cycles{};
  std::uint64_t load_bytes = 0;  ///< of experts, all channels
  std::uint64_t demand_loads = 0, prefetch_loads = 0, prefetch_used = 0, prefetch_dropped = 0;  ///< experts
  std::uint64_t read_bytes = 0, write_bytes = 0;  ///< commands, tokens, tables; results
  struct Lookups {
    std::uint64_t hits = 0, late = 0, misses = 0;

    /// hits / all lookups; 0 where there were none.
    [[nodiscard]] double hit_ratio() const;
  };
  std::vector<Lookups> layers;

  [[nodiscard]] std::uint64_t operator[](CycleKind kind) const { return cycles[static_cast<std::size_t>(kind)]; }
  /// Cycles between start and done: all kinds but idle.
  [[nodiscard]] std::uint64_t busy_cycles() const;
  [[nodiscard]] Lookups lookups() const;

  /// Of two readings of one kernel, or of two runs; a default-constructed one counts nothing.
  KernelCounters& operator+=(const KernelCounters& other);
  KernelCounters& operator-=(const KernelCounters& other);
};

}  // namespace flame::accel
