#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/experts/buffer_options.h"
#include "flame/experts/pipeline.h"
#include "flame/experts/use_log.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::eval {

enum class BufferMode : std::uint8_t {
  kPaper,    ///< before each decoder MoE layer the slots hold exactly the predictor's top C; nothing is pipelined
  kRuntime,  ///< the slots are one pool, driven by the very pipeline of the live device
};

/// The time model of a replay, in seconds.
struct BufferTimes {
  double load = 0.0;     ///< one packed expert from storage
  double chunk = 0.0;    ///< what a prefetch under way may hold up a demand load
  double compute = 0.0;  ///< one expert for one token
  double gap = 0.0;      ///< the dense layers between one MoE layer and the next
};

/// One setting to replay.
struct BufferCase {
  std::string predictor = "cepr";  ///< a predictor of routing, "none", "oracle", or "belady": demand loads only, with
                                   ///< the best replacement there can be
  std::uint32_t context = 3;  ///< m
  std::size_t slots = 1;      ///< paper: per layer; runtime: in all
  BufferMode mode = BufferMode::kRuntime;
  experts::Replacement replacement = experts::Replacement::kNextUse;
  bool speculate_always = false;
  BufferTimes times;
};

struct BufferResult {
  BufferCase setting;
  std::uint64_t steps = 0;  ///< decoder steps (tokens)
  experts::LookupCounts decoder;
  experts::LookupCounts encoder;           ///< runtime mode only
  double latency_seconds = 0.0;            ///< of one decoder step: its MoE layers and the gaps
  double wait_seconds = 0.0;               ///< in all
  double storage_busy_seconds = 0.0;       ///< in all
  experts::PipelineStatistics loads;       ///< bytes are in units of one expert = 1000
  [[nodiscard]] double hit_ratio() const;  ///< of the decoder's lookups
};

/// Replays a trace, one example after another, through the slots and the pipeline of the live device in simulated time.
/// Throws UsageError for a predictor that does not exist, needs hidden states, or does not fit the profile.
[[nodiscard]] BufferResult replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                         const BufferCase& setting);

/// Several settings, on all threads of the pool.
[[nodiscard]] std::vector<BufferResult> replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                                      const std::vector<BufferCase>& settings);

/// {"predictor", "m", "slots", "mode", "hits", "late", "misses", "hit_ratio", "latency_seconds", …}: DESIGN section 3.
[[nodiscard]] Json to_json(const BufferResult& result);

/// What no buffer of this size can beat on the lookups of a run.
struct BufferCeilings {
  double belady_hit_ratio = 0.0;     ///< loads on demand only, best replacement
  double oracle_hit_ratio = 0.0;     ///< every coming expert known, loads ahead of time as the storage allows
  double oracle_wait_seconds = 0.0;  ///< what compute waits for even so
  double least_load_seconds = 0.0;   ///< the bytes that have to move even with the best replacement / bandwidth
};

/// `gap` is the mean time between two MoE layers without waits, `load` that of one expert.
[[nodiscard]] BufferCeilings buffer_ceilings(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                             std::size_t slots, double load, double gap);

}  // namespace flame::eval
