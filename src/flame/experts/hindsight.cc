#include "flame/experts/hindsight.h"

#include <algorithm>
#include <utility>

namespace flame::experts {
namespace {

/// The share of the time that forecasts may cost.
constexpr double kAllowedShare = 0.005;
/// Loads that forecasts may cost before they are set aside: few at first, since a short run has few to lose; then more,
/// since what pays in the long run may lose some in a row. In replays of random chains that took as long as 200 to 400
/// loads, eight at once lost up to 4.9 %, this 2.2 %; replays of DialogSum are no slower for it.
constexpr double kAllowedLoads = 2.0;
constexpr double kAllowedOfMisses = 1.0 / 128.0;
constexpr double kMostAllowedLoads = 8.0;
/// Loads that forecasts may have in hand: what they earned in better times is forgotten beyond that, so that a
/// predictor that has become wrong is found out.
constexpr double kMostLoads = 32.0;

}  // namespace

Hindsight::Hindsight(const ExpertGrid& grid, std::size_t slots, std::unique_ptr<ReplacementPolicy> policy,
                     std::span<const float> popularity)
    : shadow_(grid, slots, std::move(policy), popularity) {}

void Hindsight::visit(LayerIndex layer, std::span<const ExpertIndex> used, std::span<const ExpertIndex> order,
                      bool as_on_demand) {
  missing_ = shadow_.visit(layer, used, order);
  missed_ += missing_;
  as_on_demand_ = as_on_demand;
}

void Hindsight::settle(const Pass& pass) {
  // Experts are computed as they arrive and while others load.
  double on_demand = std::max(0.0, pass.on_demand_loads - pass.computed);
  // What the loads of the pass do not explain (a storage or a process that stood still) is not the forecasts' doing:
  // it would have been waited for on demand as well.
  double unexplained = std::max(0.0, pass.waited - pass.loads);
  if (as_on_demand_ || pass.load <= 0.0) {
    on_demand = pass.waited;
    unexplained = 0.0;
  }
  on_demand_seconds_ += on_demand + unexplained;
  balance_ += kAllowedShare * (pass.elapsed - unexplained) + on_demand + unexplained - pass.waited;
  const double allowed = std::min(kMostAllowedLoads, kAllowedLoads + kAllowedOfMisses * static_cast<double>(missed_));
  const double most_lost = allowed + static_cast<double>(shadow_.slots());
  balance_ = std::clamp(balance_, -most_lost * pass.load, kMostLoads * pass.load);
  const double least = -allowed * pass.load;
  // Half of the allowance has to be there again before it is spent again.
  follows_ = balance_ >= (follows_ ? least : least / 2);
}

}  // namespace flame::experts
