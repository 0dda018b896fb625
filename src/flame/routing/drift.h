#pragma once

#include <cstdint>
#include <span>

#include "flame/routing/predictor.h"

namespace flame::routing {

/// Whether a predictor keeps what it promises on the text at hand: observed against promised accuracy at k, kept with
/// four additions a prediction. A profile of other weights or another kind of text shows as a large negative z.
class DriftMeter {
 public:
  struct Report {
    std::uint64_t predictions = 0;
    double promised = 0.0;  ///< mean probability given to the ranked experts together
    double observed = 0.0;  ///< share of predictions whose expert was among them
    double z = 0.0;         ///< (observed - promised) in standard errors, were the promises true
    /// More than five points and four standard errors below the promise.
    [[nodiscard]] bool drifted() const { return observed < promised - 0.05 && z < -4.0; }
  };

  /// `ranked` was the ranking that loads followed, `expert` what the router then chose.
  void add(std::span<const RankedExpert> ranked, std::uint16_t expert);
  [[nodiscard]] Report report() const;
  void reset() { *this = DriftMeter(); }

 private:
  std::uint64_t predictions_ = 0;
  std::uint64_t hits_ = 0;
  double promised_ = 0.0;
  double variance_ = 0.0;  ///< sum of p (1 - p)
};

}  // namespace flame::routing
