#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "flame/accel/accelerator_bench.h"
#include "flame/model/config.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::accel {

/// The accelerator's rows of the paper's Table 1, and its Figure 9(b), at a model's sizes with routing from a trace.
struct AcceleratorTableOptions {
  RtlConfiguration configuration = RtlConfiguration::kLanes256;
  Ddr4Parameters ddr4;
  std::vector<DevicePattern> patterns;  ///< of N:M and both; dense experts are the rest
  std::uint64_t budget_bytes = 0;       ///< the same for every row; 0: all slot memory
  std::size_t order = 2;
  std::size_t prefetch_count = 2;
  /// Of two slots that are not predicted, the one with the less popular expert (in the profile) gives way, not the
  /// least recently used; CEPR and both only, since neither and N:M know no profile.
  bool keep_popular = false;
  bool wait_for_whole = false;  ///< see PolicySettings
  std::size_t tokens = 100;     ///< of the replay, after as many examples' worth of warm-up as `warm_up` says
  std::size_t warm_up = 10;
  bool transactions = false;      ///< the transaction-level model instead of the RTL
  bool with_dense_layers = true;  ///< also with the dense layers' time between MoE layers
};

struct AcceleratorRow {
  std::string configuration;  ///< "neither", "N:M", "CEPR", "both"
  std::string pattern;
  /// "moe": MoE layers back to back; "decoder": dense layers' modelled time between them; "resident": one expert.
  std::string scope;
  std::uint64_t dense_cycles = 0;
  AcceleratorBenchResult result;
  double speedup = 1.0;  ///< neither's seconds per token over this row's, in the same scope
};

/// Modelled kernel cycles of what lies between two MoE layers of the decoder: the attention and dense feed-forward
/// weights in int8, read once from the same memory (an assumption: the paper's card runs them too).
std::uint64_t dense_layer_cycles(const model::SwitchConfig& config, const AcceleratorTableOptions& options);

/// Replays `run` (a trace of the model's shape, as eval::map_trace makes it) on each configuration; predictions come
/// from `profile`, which must not know the examples of `run`. `progress` is called after each row.
std::vector<AcceleratorRow> measure_accelerator(
    const model::SwitchConfig& config, const routing::Trace& run, const routing::Profile& profile,
    const AcceleratorTableOptions& options,
    const std::function<void(std::size_t done, std::size_t all)>& progress = {});

/// One expert of each pattern, dense first, in a slot before it is asked for: what the array makes of sparsity alone.
/// Scope "resident", cycles of one layer command; always the RTL. `speedup` is over dense.
std::vector<AcceleratorRow> measure_resident_experts(
    const model::SwitchConfig& config, const AcceleratorTableOptions& options,
    const std::function<void(std::size_t done, std::size_t all)>& progress = {});

/// Figure 9(b), latency against slots and sparsity: dense experts and each pattern, with and without prediction, at
/// each number of slots that the kernel's memory holds. `speedup` is over dense experts in the fewest slots without
/// prediction, in the same scope.
std::vector<AcceleratorRow> sweep_accelerator(
    const model::SwitchConfig& config, const routing::Trace& run, const routing::Profile& profile,
    const AcceleratorTableOptions& options, const std::vector<std::size_t>& slots,
    const std::function<void(std::size_t done, std::size_t all)>& progress = {});

}  // namespace flame::accel
