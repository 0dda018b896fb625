#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flame/accel/driver.h"
#include "flame/accel/rtl_kernel.h"
#include "flame/accel/simulated_card.h"

namespace flame::accel {

/// Routing decisions to replay: [steps, layers] experts, and the example each step belongs to (0-based, rising).
struct RoutingReplay {
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::vector<std::uint16_t> decisions;
  std::vector<std::int32_t> example;

  [[nodiscard]] std::size_t steps() const { return example.size(); }
};

/// What one measurement runs. Weights and tokens are random (time does not depend on them); routing is replayed.
struct AcceleratorBenchOptions {
  RtlConfiguration configuration = RtlConfiguration::kLanes256;
  Ddr4Parameters ddr4;
  std::size_t d_model = 768, d_ff = 3072;
  std::uint64_t budget_bytes = 0;  ///< of slots; 0: all the kernel has
  std::size_t slots = 0;           ///< instead of a budget, where not 0
  DevicePattern pattern;
  PolicySettings policy;               ///< path_layers is taken from the replay
  std::span<const TableEntry> table;   ///< of the predictor, when policy prefetches
  std::span<const std::uint8_t> keep;  ///< keep values [layers, experts], or empty: plain LRU
  std::uint64_t dense_cycles = 0;      ///< modelled time of the dense layers between two MoE layers
  std::size_t warm_up = 0;             ///< steps run before counting
  bool all_resident = false;           ///< every lookup a hit: as many slots as experts needed, experts loaded before
};

struct AcceleratorBenchResult {
  std::size_t slots = 0;
  std::uint64_t slot_bytes = 0;
  std::size_t tokens = 0;
  std::size_t layer_runs = 0;
  KernelCounters counters;
  std::uint64_t steps_per_expert = 0;  ///< cycles of an expert in a full array
  double kept_macs_per_expert = 0.0;
  double load_cycles_per_expert = 0.0;  ///< at the memory's sequential rate
  double seconds_per_token = 0.0;       ///< dense layers' modelled time included
  double cycles_per_token = 0.0;
  double moe_cycles_per_token = 0.0;  ///< without that time
  /// The least that a decoder can take, whose layers wait for one another: the larger of the sum over its layers of
  /// max(bytes missed / sequential DDR bandwidth, kept MACs / lanes), and all bytes that were used / bandwidth.
  double bound_cycles_per_token = 0.0;
  /// The same maximum of the token's sums, as if every load could run beside any computation.
  double overlapped_bound_cycles_per_token = 0.0;
  double belady_hit_ratio = 0.0;  ///< what the best replacement reaches without prediction, in the same slots
  double array_busy = 0.0;        ///< share of the engine's cycles in which every PE works
};

/// Replays `replay` on the simulated kernel. Throws UsageError where the shape or the policy do not fit it.
AcceleratorBenchResult run_accelerator_bench(const AcceleratorBenchOptions& options, const RoutingReplay& replay);

/// The figures that follow from the counters of a run.
AcceleratorBenchResult summarise(const AcceleratorBenchOptions& options, const ExpertLayout& layout, std::size_t slots,
                                 std::size_t tokens, std::size_t layers, const KernelCounters& counters);

/// The share of lookups after the first `warm_up` steps that would be hits if the best replacement there can be
/// (Belady) filled `slots`, loading on demand.
double belady_hit_ratio(const RoutingReplay& replay, std::size_t slots, std::size_t warm_up);

/// Lines of 64 bytes per kernel cycle that one channel of `parameters` gives a long sequential read.
double sequential_lines_per_cycle(const Ddr4Parameters& parameters);

/// Beats of `axi_bytes` that a port takes per cycle at that rate: one at most.
double sequential_beats_per_cycle(const Ddr4Parameters& parameters, std::size_t axi_bytes);

/// Kernel cycles that an expert takes at that rate.
double sequential_load_cycles(const ExpertLayout& layout, const Ddr4Parameters& parameters);

}  // namespace flame::accel
