#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "flame/experts/expert_grid.h"
#include "flame/experts/on_demand_shadow.h"

namespace flame::experts {

/// Whether forecasts have been worth following so far, by comparison with what loading on demand alone would have
/// waited for the very same lookups. The account it keeps bounds what they may cost: whatever the predictor, routing or
/// storage, at most half a percent of the time that passes, some loads (two at the beginning, eight in the end), and
/// those that bring the slots back to what loading on demand would hold (that many slots at most).
///
/// While forecasts are set aside, the pipeline takes slots from experts that the shadow does not hold. So its slots
/// differ from the shadow's in ever fewer experts, and are the same in the end.
class Hindsight {
 public:
  /// As OnDemandShadow's.
  Hindsight(const ExpertGrid& grid, std::size_t slots, std::unique_ptr<ReplacementPolicy> policy,
            std::span<const float> popularity);

  /// A pass through an MoE layer, when it is over. Times in seconds.
  struct Pass {
    double elapsed = 0.0;          ///< since the last pass was over
    double waited = 0.0;           ///< for loads
    double computed = 0.0;         ///< from the router's decision on, without waiting
    double load = 0.0;             ///< what one load takes, at present; 0: not known yet, so that nothing is compared
    double loads = 0.0;            ///< what the loads take that the pass found to be made
    double on_demand_loads = 0.0;  ///< what those take of the experts that the shadow misses
  };

  void begin_example() { shadow_.begin_example(); }
  /// The router has decided; `used` and `order` as OnDemandShadow's. `as_on_demand`: the experts in slots were those of
  /// the shadow, as far as this pass wants them, and the storage had nothing to do. Such a pass takes as long on
  /// demand: how well load times are known does not matter.
  void visit(LayerIndex layer, std::span<const ExpertIndex> used, std::span<const ExpertIndex> order,
             bool as_on_demand);
  /// Experts that the shadow misses in this pass.
  [[nodiscard]] std::uint32_t missing() const { return missing_; }
  /// Enters the visit's pass into the account.
  void settle(const Pass& pass);

  /// Forecasts may say what is loaded and kept.
  [[nodiscard]] bool follows_forecasts() const { return follows_; }
  [[nodiscard]] const OnDemandShadow& shadow() const { return shadow_; }
  /// Seconds that loading on demand alone would have waited in all, since the last begin_statistics().
  [[nodiscard]] double on_demand_seconds() const { return on_demand_seconds_; }
  void begin_statistics() { on_demand_seconds_ = 0.0; }

 private:
  OnDemandShadow shadow_;
  std::uint32_t missing_ = 0;  ///< of the last visit
  std::uint64_t missed_ = 0;   ///< of all visits
  bool as_on_demand_ = false;
  bool follows_ = true;
  double balance_ = 0.0;  ///< seconds that forecasts have earned and not lost again
  double on_demand_seconds_ = 0.0;
};

}  // namespace flame::experts
