#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/eval/buffer_simulation.h"
#include "flame/experts/buffer_options.h"
#include "flame/experts/pipeline.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::eval {

enum class BufferMode : std::uint8_t {
  kPaper,    ///< before each decoder MoE layer the slots hold exactly the predictor's top C; nothing is pipelined
  kRuntime,  ///< the slots are one pool, driven by the very pipeline of the live device
};

/// One setting to replay.
struct BufferCase {
  std::string predictor = "cepr";  ///< a predictor of routing, "none", "oracle", or "belady": demand loads only, with
                                   ///< the best replacement there can be
  std::uint32_t context = 3;       ///< m
  std::size_t slots = 1;           ///< paper: per layer; runtime: in all
  BufferMode mode = BufferMode::kRuntime;
  experts::Replacement replacement = experts::Replacement::kNextUse;
  bool speculate_always = false;
  /// Above 0 (runtime mode): of each forecast only the expert that will come is left, where it is among so
  /// many first; make_foreseen_predictor says more.
  std::size_t foreseen = 0;
  BufferTimes times;
};

struct BufferResult {
  BufferCase setting;
  std::uint64_t steps = 0;  ///< decoder steps (tokens)
  experts::LookupCounts decoder;
  experts::LookupCounts encoder;  ///< runtime mode only
  double latency_seconds = 0.0;   ///< of one decoder step: its MoE layers and the gaps
  /// What latency_seconds could be at least: all loads that the decoder's lookups needed overlapped, none in vain.
  double needed_seconds = 0.0;
  double total_seconds = 0.0;              ///< of everything, encoders included
  double wait_seconds = 0.0;               ///< of them
  double storage_busy_seconds = 0.0;       ///< of them
  experts::PipelineStatistics loads;       ///< bytes are in units of one expert = 1000
  [[nodiscard]] double hit_ratio() const;  ///< of the decoder's lookups
};

/// Replays a trace, one example after another, through the slots and the pipeline of the live device in simulated time.
/// Throws UsageError for a predictor that does not exist, needs hidden states that the trace does not have (or that
/// were not read), or does not fit the profile.
[[nodiscard]] BufferResult replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                         const BufferCase& setting);

/// Several settings, on all threads of the pool. Settings that share a predictor share its rankings, and in paper mode
/// one pass over the trace serves all numbers of slots.
[[nodiscard]] std::vector<BufferResult> replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                                      const std::vector<BufferCase>& settings);

/// The hidden states that one of these predictors looks at, to be read with the trace. Throws UsageError as
/// routing::make_predictor does.
[[nodiscard]] routing::TraceReadOptions states_for(const std::vector<std::string>& predictors,
                                                   const routing::Profile& profile);

/// {"predictor", "m", "slots", "mode", "hits", "late", "misses", "hit_ratio", "latency_seconds", …}: an entry of
/// `flame eval buffer --json` (docs/buffering.md says what the figures mean).
[[nodiscard]] Json to_json(const BufferResult& result);

}  // namespace flame::eval
