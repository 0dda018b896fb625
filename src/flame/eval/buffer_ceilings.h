#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "flame/experts/buffered_device.h"
#include "flame/experts/expert_grid.h"
#include "flame/experts/pipeline.h"
#include "flame/experts/use_log.h"

namespace flame::eval {

/// What no buffer of this size can beat on the lookups of a run, from the slots as it found them. Lookups are "kept"
/// for which nothing was loaded, neither on demand nor ahead (LookupCounts: all() - loaded): of those Belady's
/// replacement has the most. Hits may be more than are kept, as what is loaded ahead in time is a hit; their ceiling is
/// the oracle's.
struct BufferCeilings {
  double kept_ratio = 0.0;          ///< of all lookups, by Belady's replacement
  double decoder_kept_ratio = 0.0;  ///< of the decoder's, as if the encoder took no slot
  double hit_ratio = 0.0;           ///< of all lookups, where every coming expert is known and loaded ahead in time
  double decoder_hit_ratio = 0.0;   ///< of the decoder's, in the same run
  double wait_seconds = 0.0;        ///< what computing waits for even so
  bool hits_are_the_runs = false;   ///< the run hit more than the oracle's replay: hit_ratio is its own
  bool decoder_hits_are_the_runs = false;  ///< the same of decoder_hit_ratio
  bool wait_is_the_runs = false;           ///< the run waited less than the oracle's replay: wait_seconds is its own
  double least_load_seconds = 0.0;         ///< what the storage takes for the lookups that cannot be kept
  double least_decoder_loads = 0.0;        ///< decoder_misses_at_least()
  /// The kept ratios are of so many first lookups of the run, where its log ends before the run does; 0: of all. What
  /// such a run kept may be more than they are: it may have kept more later.
  std::uint64_t first_lookups = 0;
};

/// How fast a run's decoding could have been, in seconds. A run cannot be shorter than its computing, nor than the time
/// that the storage takes for the experts that have to be loaded: the larger of the two is the bound. Where loads were
/// begun before the decoder was, its own time is enough for what was left of them.
struct DecoderBounds {
  double resident_seconds = 0.0;  ///< without any wait: every expert in memory
  double least_seconds = 0.0;     ///< with the best replacement there can be, and all loading overlapped
  double needed_seconds = 0.0;    ///< with the loads that this run's lookups needed, all of them overlapped
};
/// `load_seconds`: what the storage takes for one (BufferReport::transfer_seconds).
[[nodiscard]] DecoderBounds decoder_bounds(double decoder_seconds, const experts::PipelineStatistics& run,
                                           double load_seconds, double least_loads);

/// Of the lookups of `uses` the most that a buffer of so many slots can find in them without loading for them, whatever
/// it knows and in whichever order it computes a pass's experts, when the slots hold `found` at first.
[[nodiscard]] std::uint64_t kept_at_most(const experts::UseLog& uses, std::size_t slots,
                                         std::span<const experts::ExpertIndex> found);

/// The decoder's lookups that no buffer of this size can have resident without loading for them: as if the encoder took
/// no slot, and the slots had been full of the right experts at first.
[[nodiscard]] std::uint64_t decoder_misses_at_least(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                                    std::size_t slots);

/// The same lookups by one who knows every coming expert of the decoder, from the slots as the run found them, at its
/// mean load time and gap.
[[nodiscard]] experts::PipelineStatistics replay_oracle(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                                        const experts::BufferReport& run);

/// With a slot for every expert nothing is ever replaced, and all ratios are 1. Else hits and waiting are those of
/// replay_oracle(); where the run itself did better than that, an oracle could have done the same, and it
/// counts. `run` may be longer than the log: the rest is taken to be like it.
[[nodiscard]] BufferCeilings buffer_ceilings(const experts::UseLog& uses, const experts::ExpertGrid& grid,
                                             const experts::BufferReport& run);

}  // namespace flame::eval
