#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/io/async_reader.h"

namespace flame::experts {

/// Which expert gives way when a slot is needed.
enum class Replacement : std::uint8_t {
  kNextUse,        ///< least expected next use, given the predictor, then recency
  kLru,            ///< least recently used
  kLifo,           ///< last loaded, first out (Huang et al.)
  kLfu,            ///< least frequently used
  kLayerDistance,  ///< EdgeMoE: seldom used and far ahead in the order of layers
  kStatic,         ///< least popular in the profile
};

/// Every name that parse_replacement takes, the default first.
[[nodiscard]] std::vector<std::string_view> replacement_names();
/// Throws UsageError for a name that is not one of them.
[[nodiscard]] Replacement parse_replacement(const std::string& name);
[[nodiscard]] const char* name_of(Replacement replacement);

/// How the experts of a bundle are held in memory. Every combination gives the same text.
struct BufferOptions {
  std::uint64_t budget_bytes = 0;  ///< --expert-memory; 0: not given
  std::size_t slots = 0;           ///< --slots; 0: not given. Neither given: a slot for every expert
  /// Any causal predictor of routing; "none"; "auto": the best that the bundle's profile has data for (mix-hidden, mix,
  /// cepr), without a profile none. "lru" and "lifo" stand for that replacement without prediction.
  std::string predictor = "auto";
  /// m, the experts a predictor looks back on; not given: 3, or all that the profile counted where that is less.
  std::optional<std::uint32_t> context;
  Replacement replacement = Replacement::kNextUse;
  io::StorageBackend storage = io::StorageBackend::kAutomatic;
  /// No slots at all: the experts are computed where their file is mapped (MappedDevice), and the kernel decides what
  /// stays in memory. For comparison; the rest of the options then says nothing.
  bool mapped = false;
  io::Throttle throttle;          ///< --storage-bandwidth, --storage-latency
  bool prefetch = true;           ///< false: load on demand only
  bool speculate_always = false;  ///< keep two loads under way, whether that pays or not: for comparison
  /// Each load ends before anything goes on, as if storage took no time: for comparing a run with its replay.
  bool wait_for_loads = false;
  bool verify = true;              ///< check each block's XXH3 as it arrives
  std::filesystem::path timeline;  ///< --timeline: a Chrome trace of routes, loads, waits and computation
  double timeout_seconds = 30.0;   ///< a load that takes longer is an error
  std::uint64_t seed = 1;          ///< of the random predictor
};

}  // namespace flame::experts
