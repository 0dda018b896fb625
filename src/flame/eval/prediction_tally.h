#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/predictor.h"
#include "flame/routing/trace.h"

namespace flame::eval {

/// At which place of its rankings a predictor put the experts that came, at one depth.
struct PredictionTally {
  std::size_t experts = 0;
  std::size_t layers = 0;
  std::vector<std::uint64_t> place;       ///< [layers, E + 1]: how often the expert stood at each place; last: nowhere
  std::vector<std::uint32_t> by_example;  ///< [examples, E + 1]: the same by example
  std::vector<double> promised;           ///< [E]: sums of the probability given to each place
  double log_loss = 0.0;                  ///< sum of -ln P(expert), P at least 1e-9
};

/// Throws UsageError when the predictor looks at hidden states that the trace does not have.
void require_states(const routing::Predictor& predictor, const routing::Trace& trace);

/// Replays the examples through the predictor as decoding would and ranks every expert at each of the `depths` (layers
/// ahead, 1 or more), once a position whose expert belongs to the same example. One tally a depth.
[[nodiscard]] std::vector<PredictionTally> tally_predictions(const routing::Trace& trace,
                                                             std::span<const routing::StepRange> examples,
                                                             routing::Predictor& predictor,
                                                             std::span<const std::uint32_t> depths);

}  // namespace flame::eval
