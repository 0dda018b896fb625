#pragma once

#include <cstddef>

#include "flame/experts/expert_grid.h"
#include "flame/experts/pipeline.h"
#include "flame/experts/use_log.h"

namespace flame::eval {

/// What no buffer of this size can beat on the lookups of a run.
struct BufferCeilings {
  double belady_hit_ratio = 0.0;     ///< loads on demand only, best replacement, from empty slots
  double decoder_hit_ratio = 0.0;    ///< of the decoder's lookups, where nothing else matters (decoder_misses_at_least)
  double oracle_hit_ratio = 0.0;     ///< every coming expert known, loads ahead of time as the storage allows
  double oracle_wait_seconds = 0.0;  ///< what compute waits for even so
  double least_load_seconds = 0.0;   ///< the bytes that have to move even with the best replacement / bandwidth
  double least_decoder_load_seconds = 0.0;  ///< the same of the decoder's lookups, where nothing else matters
};

/// How fast a run's decoding could have been, in seconds. A run cannot be shorter than its computing, nor than the time
/// that the storage takes for the experts that have to be loaded: the larger of the two is the bound.
struct DecoderBounds {
  double resident_seconds = 0.0;  ///< without any wait: every expert in memory
  double least_seconds = 0.0;     ///< with the best replacement there can be, and all loading overlapped
  double needed_seconds = 0.0;    ///< with the loads that this run's lookups needed, all of them overlapped
};
[[nodiscard]] DecoderBounds decoder_bounds(double decoder_seconds, const experts::PipelineStatistics& run,
                                           double load_seconds, const BufferCeilings& ceilings);

/// The decoder's lookups that no buffer of this size can have resident without loading for them: Belady's replacement
/// as if the encoder took no slot, and the slots had been full of the right experts at first.
[[nodiscard]] std::uint64_t decoder_misses_at_least(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                                    std::size_t slots);

/// `gap` is the mean time between two MoE layers without waits, `load` that of one expert.
[[nodiscard]] BufferCeilings buffer_ceilings(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                             std::size_t slots, double load, double gap);

}  // namespace flame::eval
