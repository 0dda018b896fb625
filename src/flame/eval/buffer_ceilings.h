#pragma once

#include <cstddef>

#include "flame/experts/expert_grid.h"
#include "flame/experts/use_log.h"

namespace flame::eval {

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
